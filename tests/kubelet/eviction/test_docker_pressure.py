"""A node whose disk runs full, and pods over their limits of it, on a real engine: one kubelet with a small disk of its own."""

from __future__ import annotations

from glob import glob
from pathlib import Path
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.conditions import get_condition
from services.kubelet.cgroups.names import root_of
from services.kubelet.eviction import keeper, local_storage
from services.kubelet.node.mounts import mount_tmpfs, unmount_all
from services.kubelet.runtime.docker import DockerSettings
from services.kubelet.thresholds import parse_amounts, thresholds_of
from tests.kubelet.docker_support import docker
from tests.kubelet.support import Cluster, condition, make_pod, running

pytestmark = pytest.mark.docker
MI = 1 << 20
THRESHOLDS = thresholds_of(parse_amounts("nodefs.available<50%", "<", zero=False), {}, {}, {})


def writer(name: str, image: str, script: str) -> core.Pod:
    pod = make_pod(name)
    pod.spec.termination_grace_period_seconds = 1
    spec = pod.spec.containers[0]
    spec.image = image
    spec.command.extend(["sh", "-c", f"{script}; exec sleep 1000"])
    pod.spec.volumes.add(name="data").volume_source.empty_dir.SetInParent()
    spec.volume_mounts.add(name="data", mount_path="/data")
    return pod


def groups_of(settings: DockerSettings, uid: str) -> list[str]:
    """Uids come again in another run, which may have been killed. Groups go while they are looked for, of which ``glob`` makes nothing."""
    return glob(f"/sys/fs/cgroup/**/{'/'.join(root_of(settings.cluster_id, settings.node_name))}/**/pod{uid}", recursive=True)  # noqa: PTH207


async def failed(cluster: Cluster, name: str) -> str:
    pod = await cluster.phase("Failed", name)
    assert pod.status.reason == "Evicted"
    return str(pod.status.message)


async def test_a_full_disk_ends_who_filled_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "PERIOD_SECONDS", 0.2)
    monkeypatch.setattr(local_storage, "PERIOD_SECONDS", 0.2)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount_tmpfs(disk, 0o755, 40 * MI)
    try:
        async with docker() as (runtime, settings, image):
            own: dict[str, Any] = {"cluster_id": settings.cluster_id, "pod_cidr": settings.pod_cidr, "thresholds": THRESHOLDS}
            async with running(runtime, disk / "kubelet", **own) as cluster:
                await cluster.client.create(writer("modest", image, "head -c 2000000 /dev/zero > /data/a"))
                await cluster.client.create(writer("greedy", image, "head -c 25000000 /dev/zero > /data/a"))
                limited = writer("limited", image, "head -c 5000000 /dev/zero > /tmp/a")
                limited.spec.containers[0].resources.limits["ephemeral-storage"].string = "1Mi"
                await cluster.client.create(limited)
                words = await failed(cluster, "greedy")
                assert words.startswith("The node was low on resource: ephemeral-storage. Threshold quantity: 20Mi, available: ")
                evicted = cluster.pod("greedy")
                assert evicted is not None
                assert (found := get_condition(evicted.status, "DisruptionTarget")) is not None
                assert found.reason == "TerminationByKubelet"
                await cluster.until(lambda: condition(cluster.api.all(core.Node)[0], "DiskPressure") == "True")
                # On an own disk of images what a container writes into its layer is not the node's; its logs and volumes are.
                assert cluster.kubelet.signals.apart
                await cluster.until(lambda: cluster.observed("greedy") is None and not groups_of(settings, evicted.metadata.uid))
                assert await runtime.storage([evicted.metadata.uid]) == []
                modest = await cluster.ready("modest")
                assert groups_of(settings, modest.metadata.uid)
                await cluster.ready("limited")
                cluster.kubelet.signals.apart = False  # type: ignore[misc]
                monkeypatch.setattr("services.kubelet.eviction.signals.disk_signals", lambda *_: ({}, False))
                assert await failed(cluster, "limited") == "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. "
                assert condition(cluster.pod("modest"), "Ready") == "True"
    finally:
        unmount_all(tmp_path)
