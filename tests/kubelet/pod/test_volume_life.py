"""Volumes of a pod that runs, when what they show goes away."""

from __future__ import annotations

from pathlib import Path

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.pod.directory import PodDirectory
from tests.kubelet.support import FiledRuntime, make_pod, running
from tests.support.virtual_time import VirtualClock, virtual_time

CIDR = "10.244.0.0/24"
pytestmark = pytest.mark.usefixtures("at_once")


def showing(*names: str) -> core.Pod:
    """A pod whose container shows ConfigMaps, each at the volume of its name."""
    pod = make_pod()
    for name in names:
        pod.spec.volumes.add(name=name).volume_source.config_map.local_object_reference.name = name
        pod.spec.containers[0].volume_mounts.add(name=name, mount_path=f"/{name}")
    return pod


def config_map(name: str, value: str) -> core.ConfigMap:
    found = core.ConfigMap(data={"key": value})
    found.metadata.name, found.metadata.namespace = name, "default"
    return found


@virtual_time
async def test_what_a_volume_lacks_keeps_no_other_one_as_it_was(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with running(FiledRuntime(CIDR, clock=clock), tmp_path, clock=clock) as cluster:
        for name in ("first", "second"):
            await cluster.client.create(config_map(name, "1"))
        pod = showing("first", "second")
        labels = pod.spec.volumes.add(name="labels").volume_source.downward_api.items.add(path="labels")
        labels.field_ref.field_path = "metadata.labels"
        await cluster.client.create(pod)
        uid = (await cluster.ready()).metadata.uid
        shown = {name: PodDirectory(tmp_path, uid).volume_path(name) / "key" for name in ("first", "second")}
        await cluster.client.delete(core.ConfigMap, "first", "default")
        await cluster.until(lambda: cluster.events("FailedMount"))
        await cluster.client.update(config_map("second", "2"))
        await cluster.until(lambda: shown["second"].read_text() == "2")
        assert shown["first"].read_text() == "1"
        labelled = core.Pod()
        labelled.CopyFrom(await cluster.ready())
        labelled.metadata.labels["new"] = "yes"
        begun = clock.now()
        await cluster.client.update(labelled)
        told = PodDirectory(tmp_path, uid).volume_path("labels") / "labels"
        await cluster.until(lambda: told.read_text() == 'new="yes"')
        assert (clock.now() - begun).total_seconds() < 2
        assert cluster.events("FailedMount") == ['MountVolume.SetUp failed for volume "first" : configmap "first" not found']


@virtual_time
async def test_a_container_is_restarted_with_what_its_volumes_showed_last(tmp_path: Path) -> None:
    clock = VirtualClock()
    runtime = FiledRuntime(CIDR, clock=clock)
    async with running(runtime, tmp_path, clock=clock) as cluster:
        await cluster.client.create(config_map("first", "1"))
        await cluster.client.create(showing("first"))
        uid = (await cluster.ready()).metadata.uid
        await cluster.client.delete(core.ConfigMap, "first", "default")
        await cluster.until(lambda: cluster.events("FailedMount"))
        runtime.exit(uid, "app", 1)
        await cluster.until(lambda: (pod := cluster.pod()) and pod.status.container_statuses[0].restart_count == 1)
        await cluster.ready()
        assert (PodDirectory(tmp_path, uid).volume_path("first") / "key").read_text() == "1"
