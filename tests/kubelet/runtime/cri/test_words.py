"""What an engine of CRI says, and what is made of it: facts, statuses, ends of commands, networks, names of images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from knarr.api.cri.v1 import container_pb2 as cri
from knarr.api.cri.v1 import image_pb2, status_pb2
from knarr.objects.images import full_name
from services.kubelet.runtime.cri.engine import Engine
from services.kubelet.runtime.cri.facts import EngineFacts, facts_of
from services.kubelet.runtime.cri.image_import import image_blobs
from services.kubelet.runtime.cri.images import auth_of, image_of
from services.kubelet.runtime.cri.network import FILE, _lay, network_config
from services.kubelet.runtime.cri.sandboxes import networks_of
from services.kubelet.runtime.cri.settings import CriSettings
from services.kubelet.runtime.cri.statuses import container_of
from services.kubelet.runtime.cri.streams import exit_code_of
from services.kubelet.runtime.plan import Limits
from services.kubelet.runtime.port import CREATED, EXITED, RUNNING, RuntimeFailure
from services.kubelet.runtime.usage import NetworkUse

SETTINGS = CriSettings("c", "node-1", "10.244.3.0/24", "unix:///run/x.sock", network="knarr-c", bridge="kn-c")


def test_facts_are_read_of_containerd_and_of_an_engine_that_says_little() -> None:
    told = status_pb2.StatusResponse()
    told.status.conditions.add(type="RuntimeReady", status=True)
    told.status.conditions.add(type="NetworkReady", status=False, message="cni plugin not initialized")
    config = {
        "containerd": {
            "snapshotter": "native",
            "defaultRuntimeName": "runc",
            "runtimes": {"runsc": {}, "runc": {"options": {"SystemdCgroup": True}}},
        },
        "cni": {"confDir": "/etc/n"},
        "sandboxImage": "pause:3",
        "containerdRootDir": "/v",
        "enableCDI": True,
    }
    told.info["config"] = json.dumps(config)
    told.info["cniconfig"] = json.dumps({"Networks": [{"Config": {"Name": "cni-loopback"}}, {"Config": {"Name": "knarr-c"}}]})
    found = facts_of(told)
    assert found == EngineFacts(
        ("runc", "runsc"),
        "pause:3",
        Path("/etc/n"),
        ("cni-loopback", "knarr-c"),
        "/v",
        "systemd",
        "native",
        reads_cdi=True,
        network_trouble="cni plugin not initialized",
    )
    other = status_pb2.StatusResponse(info={"config": "no JSON", "cniconfig": "[]"})
    other.runtime_handlers.add(name="crun")
    other.runtime_handlers.add()
    other.status.conditions.add(type="RuntimeReady", reason="Shutting")
    assert facts_of(other) == EngineFacts(("crun",), trouble="Shutting")


def response(**fields: object) -> cri.ContainerStatusResponse:
    return cri.ContainerStatusResponse(status=cri.ContainerStatus(id="id", **fields))  # type: ignore[arg-type]


def test_states_ends_and_reasons() -> None:
    assert container_of(response(state=cri.CONTAINER_CREATED, created_at=10**9), "containerd").state == CREATED
    running = container_of(response(state=cri.CONTAINER_RUNNING, started_at=10**9, image_ref="sha256:1"), "containerd")
    assert (running.state, running.finished_at, running.image_id) == (RUNNING, None, "containerd://sha256:1")
    killed = container_of(
        response(state=cri.CONTAINER_EXITED, finished_at=10**9, exit_code=137, reason="OOMKilled", image_ref="r@sha256:1"), "c"
    )
    assert (killed.state, killed.exit_code, killed.oom_killed, killed.error, killed.image_id) == (EXITED, 137, True, "", "r@sha256:1")
    failed = container_of(response(state=cri.CONTAINER_EXITED, exit_code=128, reason="StartError", message="no such file"), "c")
    assert (failed.error, failed.oom_killed, failed.started_at) == ("no such file", False, None)
    swift = container_of(response(state=cri.CONTAINER_EXITED, started_at=2 * 10**9, finished_at=10**9), "c")
    assert swift.finished_at == swift.started_at
    # What the engine lost sight of has ended, for all that can be known.
    assert container_of(response(state=cri.CONTAINER_UNKNOWN, exit_code=255), "c").state == EXITED


def test_limits_are_read_of_the_status_or_of_what_is_said_beside() -> None:
    new = response()
    new.status.resources.linux.cpu_shares, new.status.resources.linux.cpu_quota = 102, -1
    assert container_of(new, "c").limits == Limits(102, 0, 0, 0)
    old = response()
    resources = {"cpu": {"shares": 102, "quota": 5000}, "memory": {"limit": 1 << 20}}
    old.info["info"] = json.dumps({"runtimeSpec": {"process": {"oomScoreAdj": 7}, "linux": {"resources": resources}}})
    assert container_of(old, "c").limits == Limits(102, 5000, 1 << 20, 7)
    assert container_of(response(), "c").limits is None


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({"status": "Success"}, 0),
        ({"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [{"reason": "ExitCode", "message": "5"}]}}, 5),
    ],
)
def test_the_end_of_a_command(told: dict[str, object], code: int) -> None:
    assert exit_code_of(json.dumps(told).encode()) == code


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (b'{"status":"Failure","reason":"InternalError","message":"Internal error occurred: no such program"}', "^no such program"),
        (b"", "connection to the container runtime broke"),
        (b"some words", "some words"),
        (b"[]", "\\[\\]"),
    ],
)
def test_a_command_that_has_no_end(told: bytes, words: str) -> None:
    with pytest.raises(RuntimeFailure, match=words):
        exit_code_of(told)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("knarr/pause:1", "docker.io/knarr/pause:1"),
        ("localhost/a/b", "localhost/a/b:latest"),
        ("host:5000/a:1", "host:5000/a:1"),
        ("registry.k8s.io/pause:3.6", "registry.k8s.io/pause:3.6"),
        ("registry.k8s.io/pause@sha256:1", "registry.k8s.io/pause@sha256:1"),
    ],
)
def test_whole_names_of_images(name: str, wanted: str) -> None:
    assert full_name(name) == wanted


def test_an_image_names_what_it_is_made_of() -> None:
    layer, config, manifest = image_blobs(b"tar", {"Cmd": ["/pause"]})
    assert json.loads(config.data)["rootfs"]["diff_ids"] == [layer.digest]
    assert json.loads(manifest.data)["layers"][0] == {"mediaType": layer.media_type, "digest": layer.digest, "size": 3}
    assert json.loads(manifest.data)["config"]["digest"] == config.digest


def test_an_image_runs_as_its_settings_say_and_else_as_the_contract_does() -> None:
    told = image_pb2.ImageStatusResponse(image=image_pb2.Image(id="sha256:1", repo_digests=["r@sha256:2"], username="app", size=7))
    assert (image_of(told, "r").user, image_of(told, "r").digest) == ("app", "r@sha256:2")
    told.info["info"] = json.dumps({"imageSpec": {"architecture": "arm64", "config": {"User": "app:staff", "StopSignal": "SIGINT"}}})
    assert (image_of(told, "r").user, image_of(told, "r").stop_signal) == ("app:staff", "SIGINT")
    assert image_of(told, "r").architecture == "arm64"


def test_logins_are_told_in_the_contracts_words() -> None:
    assert auth_of({"username": "u", "password": "p"}) == image_pb2.AuthConfig(username="u", password="p")
    assert auth_of({"identitytoken": "t"}) == image_pb2.AuthConfig(identity_token="t")


def test_the_pod_networks_file_is_laid_once_and_takes_no_other_clusters_place(tmp_path: Path) -> None:
    path = tmp_path / "net.d" / FILE
    assert _lay(path, SETTINGS)
    assert json.loads(path.read_text()) == network_config(SETTINGS)
    assert not _lay(path, SETTINGS)
    path.write_text('{"name": "knarr-other"}')
    with pytest.raises(RuntimeFailure, match="pod network knarr-other of another cluster"):
        _lay(path, SETTINGS)
    path.write_text("half of")
    assert _lay(path, SETTINGS)


def test_interfaces_are_read_as_linux_tells_them() -> None:
    text = (
        "Inter-|   Receive                                                |  Transmit\n"
        " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n"
        "    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0\n"
        "  eth0:    1620      18    1    2    0     0          0         0      270       3    4    5    0     0       0          0\n"
    )
    assert networks_of(text) == (NetworkUse("eth0", 1620, 18, 1, 2, 270, 3, 4, 5),)
    assert networks_of("") == ()


@pytest.mark.parametrize("endpoint", ["/run/x.sock", "tcp://host:1", "unix://x.sock"])
def test_an_endpoint_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match="expected unix:///path/to/socket"):
        Engine(endpoint, 1.0)
