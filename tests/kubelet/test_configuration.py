"""A KubeletConfiguration: each of its fields is honoured, refused by name, or told to have no meaning; flags win."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.kubelet.__main__ import arguments_parser, settings_of
from services.kubelet.configuration import HONOURED, IDLE, ONLY, STATES, flags_of, rows, with_configuration
from services.kubelet.node_flags import node_settings_of
from services.kubelet.runtime.catalog import cri_settings, docker_settings
from services.kubelet.settings import KubeletSettings
from services.kubelet.web.configz import configz
from tools.kubelet_configuration import PAGE, page

HEAD = {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration"}
# What the file of a node says that kubeadm has made.
KUBEADM = """
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {cacheTTL: 0s, enabled: true}
  x509: {clientCAFile: FILE}
authorization:
  mode: Webhook
  webhook: {cacheAuthorizedTTL: 0s, cacheUnauthorizedTTL: 0s}
cgroupDriver: systemd
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
containerRuntimeEndpoint: ""
cpuManagerReconcilePeriod: 0s
crashLoopBackOff: {}
evictionPressureTransitionPeriod: 0s
fileCheckFrequency: 0s
healthzBindAddress: 127.0.0.1
healthzPort: 10248
httpCheckFrequency: 0s
imageMaximumGCAge: 0s
imageMinimumGCAge: 0s
logging: {flushFrequency: 0, options: {json: {infoBufferSize: "0"}, text: {infoBufferSize: "0"}}, verbosity: 0}
memorySwap: {}
nodeStatusReportFrequency: 0s
nodeStatusUpdateFrequency: 0s
rotateCertificates: true
runtimeRequestTimeout: 0s
shutdownGracePeriod: 0s
shutdownGracePeriodCriticalPods: 0s
staticPodPath: /etc/kubernetes/manifests
streamingConnectionIdleTimeout: 0s
syncFrequency: 0s
volumeStatsAggPeriod: 0s
"""
# What a file may say, as /configz tells it then.
SAID: dict[str, Any] = {
    "maxPods": 50,
    "port": 10260,
    "clusterDNS": ["10.96.0.10"],
    "clusterDomain": "example.org",
    "podCIDR": "10.9.0.0/24",
    "resolvConf": "/run/resolv.conf",
    "providerID": "aws:///zone/i-0123",
    "staticPodPath": "/etc/pods",
    "allowedUnsafeSysctls": ["kernel.msg*", "net.ipv4.route.min_pmtu"],
    "containerRuntimeEndpoint": "unix:///run/other.sock",
    "registerWithTaints": [{"key": "dedicated", "value": "builds", "effect": "NoSchedule"}],
    "evictionHard": {"memory.available": "200Mi", "nodefs.available": "5%"},
    "evictionSoft": {"memory.available": "400Mi"},
    "evictionSoftGracePeriod": {"memory.available": "1m30s"},
    "evictionMinimumReclaim": {"nodefs.available": "1Gi"},
    "evictionPressureTransitionPeriod": "2m0s",
    "evictionMaxPodGracePeriod": 30,
    "imageGCHighThresholdPercent": 90,
    "imageGCLowThresholdPercent": 70,
    "imageMinimumGCAge": "3m0s",
    "imageMaximumGCAge": "24h0m0s",
    "kubeReserved": {"memory": "1Gi"},
    "reservedSystemCPUs": "0-1",
    "cpuManagerPolicy": "static",
    "cpuManagerPolicyOptions": {"full-pcpus-only": "true"},
    "memorySwap": {"swapBehavior": "LimitedSwap"},
    "failSwapOn": True,
    "imagePullCredentialsVerificationPolicy": "NeverVerifyAllowlistedImages",
    "preloadedImagesVerificationAllowlist": ["docker.io/library/busybox", "registry.example/team/*"],
    "serializeImagePulls": False,
    "maxParallelImagePulls": 3,
    "containerLogMaxSize": "5Mi",
    "containerLogMaxFiles": 4,
    "shutdownGracePeriodByPodPriority": [{"priority": 0, "shutdownGracePeriodSeconds": 20}],
}


def written(folder: Path, **fields: Any) -> Path:
    file = folder / "kubelet.yaml"
    file.write_text(yaml.safe_dump({**HEAD, **fields}))
    return file


def started(file: Path, *flags: str) -> KubeletSettings:
    """The settings of a kubelet that was started so."""
    parser = arguments_parser()
    needed = ["--node-ip=192.0.2.1", "--apiserver=h:1", *(f"--{name}={file}" for name in ("cert", "key", "ca", "tokens", "token"))]
    return settings_of(parser.parse_args(with_configuration(parser, [*needed, f"--config={file}", *flags])))


def test_the_page_is_written_from_the_list() -> None:
    assert PAGE.read_text() == page(), "run python -m tools.kubelet_configuration"


def test_every_honoured_field_has_its_flag_and_every_other_one_its_reason() -> None:
    flags = set(arguments_parser()._option_string_actions)
    for row in rows().values():
        assert row.state in STATES, row.field
        assert row.flag in flags if row.state == HONOURED else row.words, row.field


def test_what_is_said_holds_and_is_told(tmp_path: Path) -> None:
    found = configz(started(written(tmp_path, **SAID)))["kubeletconfig"]
    assert {name: found.get(name) for name in SAID} == SAID
    assert found["systemReserved"] == {"cpu": "2000m"}


@pytest.mark.parametrize(
    ("said", "size", "files"),
    [
        ({"containerLogMaxSize": "5Mi", "containerLogMaxFiles": 4}, 5 << 20, 4),
        ({"containerLogMaxSize": "512k"}, 512_000, 5),
        ({"containerLogMaxSize": ""}, 10 << 20, 5),
    ],
)
def test_what_is_said_of_logs_is_what_runtimes_do(said: dict[str, Any], size: int, files: int, tmp_path: Path) -> None:
    settings = started(written(tmp_path, **said))
    for made in (docker_settings(settings), cri_settings(settings)):
        assert (made.log_max_bytes, made.log_max_files) == (size, files)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"containerLogMaxSize": "much"}, "containerLogMaxSize"),
        ({"containerLogMaxSize": "-1"}, "containerLogMaxSize"),
        ({"containerLogMaxFiles": 1}, "containerLogMaxFiles"),
    ],
)
def test_logs_that_cannot_be_kept_so_are_refused_by_name(said: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"--config: .*{words}"):
        started(written(tmp_path, **said))


def test_flags_win(tmp_path: Path) -> None:
    made = started(written(tmp_path, maxPods=50, clusterDomain="example.org"), "--max-pods=7")
    assert (made.max_pods, made.cluster_domain) == (7, "example.org")


@pytest.mark.parametrize("name", [row.field for row in rows().values() if row.state == ONLY])
def test_what_cannot_be_had_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    *sections, last = name.split(".")
    row = rows()[name]
    for value in (*row.values, "made-up"):
        said: Any = {last: value}
        for section in reversed(sections):
            said = {section: said}
        file = written(tmp_path, **said)
        if value in row.values:
            started(file)
            continue
        with pytest.raises(ValueError, match=rf'--config: {file}: {name}: "made-up" cannot be had: .*; leave it out'):
            started(file)


def test_what_has_no_meaning_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    started(written(tmp_path, kubeAPIQPS=7, featureGates={"MemoryQoS": True}))
    assert {record.getMessage().partition(" of the ")[0] for record in caplog.records} == {"kubeAPIQPS", "featureGates"}
    assert rows()["kubeAPIQPS"].state == IDLE


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"maxpods": 5}, "unknown field 'maxpods'"),
        ({"authentication": {"oidc": {}}}, "authentication: unknown field 'oidc'"),
        ({"authentication": "none"}, "authentication: must be a mapping"),
        ({"maxPods": "many"}, "maxPods: "),
        ({"maxPods": 1.5}, "maxPods: must be text, a whole number"),
        ({"evictionHard": {"memory": "1Gi"}}, "evictionHard: 'memory' is no signal"),
        ({"evictionHard": ["memory"]}, "evictionHard: must be a mapping"),
        ({"kubeReserved": "cpu=1"}, "kubeReserved: must be a mapping"),
        ({"allowedUnsafeSysctls": "kernel.msgmax"}, "allowedUnsafeSysctls: must be a list"),
        ({"maxPods": [1]}, "maxPods: must be text, a whole number"),
        ({"topologyManagerPolicy": "restricted"}, "topologyManagerPolicy: there is no policy 'restricted' here"),
        ({"memoryManagerPolicy": "Static"}, "memoryManagerPolicy: there is no policy 'Static' here"),
        ({"cpuManagerPolicy": "dynamic"}, "cpuManagerPolicy: 'dynamic' is none of none, static"),
        ({"cpuManagerPolicyOptions": {"align-by-socket": "true"}}, "cpuManagerPolicyOptions: there is no option 'align-by-socket' here"),
        ({"memorySwap": {"swapBehavior": "UnlimitedSwap"}}, "memorySwap.swapBehavior: 'UnlimitedSwap' is none of NoSwap, LimitedSwap"),
        ({"clusterDNS": ["10.0.0.1", "10.0.0.2"]}, "clusterDNS: must be a list of one address"),
        ({"registerWithTaints": [{"key": "a", "effect": "Never"}]}, "registerWithTaints: 'a=:Never' is no taint"),
        ({"shutdownGracePeriodByPodPriority": [{"seconds": 1}]}, r"shutdownGracePeriodByPodPriority\[0\]: unknown field 'seconds'"),
    ],
)
def test_what_is_wrong_is_told_by_its_place(fields: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        started(written(tmp_path, **fields))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: Pod", "it must be one KubeletConfiguration of kubelet.config.k8s.io/v1beta1"),
        (json.dumps(HEAD)[:-1] + ', "maxPods": 1, "maxPods": 2}', "field 'maxPods' is there twice"),
    ],
)
def test_what_is_no_such_file_is_told(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        flags_of(text.encode(), argparse.ArgumentParser())


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--config: .*nowhere.yaml cannot be read: No such file"):
        node_settings_of(f"--config={tmp_path}/nowhere.yaml")


def test_defaults_of_eviction_hold_beside_what_is_said_where_that_is_asked_for(tmp_path: Path) -> None:
    hard = {"memory.available": "1Gi"}
    alone = configz(started(written(tmp_path, evictionHard=hard)))["kubeletconfig"]["evictionHard"]
    merged = configz(started(written(tmp_path, evictionHard=hard, mergeDefaultEvictionSettings=True)))["kubeletconfig"]["evictionHard"]
    assert alone == hard
    assert "evictionHard" not in configz(started(written(tmp_path, evictionHard={})))["kubeletconfig"]
    assert merged == {**hard, "nodefs.available": "10%", "nodefs.inodesFree": "5%", "imagefs.available": "15%", "imagefs.inodesFree": "5%"}


def test_the_file_of_a_node_that_kubeadm_has_made_is_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(KUBEADM.replace(": FILE", f": {file}"))
    made = started(file)
    assert (str(made.manifest_path), made.cluster_dns) == ("/etc/kubernetes/manifests", "10.96.0.10")
    told = {record.getMessage().partition(" of the ")[0] for record in caplog.records}
    assert told == {"cgroupDriver", "healthzBindAddress", "healthzPort", "rotateCertificates", "logging.options"}


def test_what_a_cluster_says_itself_is_no_option_of_it(tmp_path: Path) -> None:
    file = written(tmp_path, maxPods=5)
    assert node_settings_of(f"--config={file}")["max_pods"] == 5
    file = written(tmp_path, clusterDomain="example.org")
    with pytest.raises(ValueError, match="clusterDomain: whoever starts this kubelet says that itself: leave it out"):
        node_settings_of(f"--config={file}")
