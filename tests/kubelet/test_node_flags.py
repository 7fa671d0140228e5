"""Flags of the kubelet's own, given to a cluster's process as one text."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from services.kubelet.node_flags import add_node_flags, node_settings, node_settings_of
from services.kubelet.runtime.catalog import cri_settings, docker_settings
from services.kubelet.runtime.docker.bodies import container_body
from services.kubelet.runtime.plan import ContainerPlan, PodRef
from services.kubelet.settings import KubeletSettings
from services.kubelet.thresholds import ALLOCATABLE_MEMORY, MEMORY
from services.kubelet.web.configz import configz
from services.standalone.settings import ClusterSettings, choice_of


def test_what_they_say(tmp_path: Path) -> None:
    text = f'--pod-manifest-path={tmp_path} --eviction-hard "memory.available<200Mi" --system-reserved=cpu=100m,memory=64Mi --max-pods=7'
    found = node_settings_of(text)
    settings = KubeletSettings(node_name="n", data_dir=tmp_path, node_ip="192.0.2.1", **found)
    assert settings.manifest_path == tmp_path and settings.max_pods == 7
    assert settings.system_reserved == {"cpu": 100, "memory": 64 << 20}
    assert {threshold.signal for threshold in settings.thresholds} == {MEMORY, ALLOCATABLE_MEMORY}


def test_what_they_say_of_logs_is_what_runtimes_do(tmp_path: Path) -> None:
    found = node_settings_of("--container-log-max-size=512Ki --container-log-max-files 9")
    settings = KubeletSettings(node_name="n", data_dir=tmp_path, node_ip="192.0.2.1", **found)
    containerd = cri_settings(settings)
    assert (containerd.log_max_bytes, containerd.log_max_files) == (512 << 10, 9)
    docker = docker_settings(settings)
    plan = ContainerPlan(PodRef("default", "web", "uid"), "sandbox", "app", 0, "image", "hash", 0)
    driver = container_body(plan, "image", docker, {})["HostConfig"]["LogConfig"]
    assert driver == {"Type": "local", "Config": {"max-size": "524288", "max-file": "9", "compress": "false"}}
    told = configz(settings)["kubeletconfig"]
    assert (told["containerLogMaxSize"], told["containerLogMaxFiles"]) == ("512Ki", 9)


def test_none_of_them_changes_nothing(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_node_flags(parser)
    common: dict[str, Any] = {"node_name": "n", "data_dir": tmp_path, "node_ip": "192.0.2.1"}
    assert node_settings_of("") == node_settings(parser.parse_args([]))
    assert dataclasses.asdict(KubeletSettings(**common, **node_settings_of(""))) == dataclasses.asdict(KubeletSettings(**common))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("--eviction-hard=memory<1", "--eviction-hard"),
        ("--node-name=other", "unrecognized arguments: --node-name=other"),
        ("--max-pod=3", "unrecognized arguments"),
        ("--max-pods=x", "--max-pods"),
        ("--pod-manifest-path=pods", "--pod-manifest-path: 'pods' is no whole path: begin it with /"),
        ("--eviction-soft=memory.available<1Gi", "memory.available"),
        ("--image-credential-provider-bin-dir=/x", "need one another"),
        ("--container-log-max-size=10Mb", "'10Mb' is no amount of bytes, like 10Mi"),
        ("--container-log-max-size=-1", "'-1' leaves no room"),
        ("--container-log-max-files=1", "--container-log-max-files"),
        ("'--max-pods=3", "No closing quotation"),
        ("-h", "unrecognized arguments"),
    ],
)
def test_what_is_no_good_is_told_before_a_cluster_starts(text: str, words: str) -> None:
    field = next(found for found in dataclasses.fields(ClusterSettings) if found.name == "kubelet_options")
    with pytest.raises(argparse.ArgumentTypeError) as told:
        choice_of(field).parse(text)
    assert words in str(told.value)
    assert choice_of(field).parse(" --max-pods=3 ") == "--max-pods=3"
