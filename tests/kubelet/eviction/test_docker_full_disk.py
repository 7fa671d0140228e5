"""The engine's own disk runs full while a log grows: an engine with a small one."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.scheduling.v1 import scheduling_pb2 as scheduling
from services.kubelet.eviction import keeper
from services.kubelet.node.mounts import mount_tmpfs
from services.kubelet.runtime.docker import DockerRuntime, remove_everything
from services.kubelet.runtime.docker.engine import Engine
from services.kubelet.runtime.port import RUNNING, LogOptions
from services.kubelet.thresholds import parse_amounts, thresholds_of
from tests.kubelet.docker_support import import_busybox, unique_settings
from tests.kubelet.support import Cluster, condition, make_pod, running
from tests.support.own_engine import OwnEngine

pytestmark = pytest.mark.docker
MI = 1 << 20
THRESHOLDS = thresholds_of(parse_amounts("imagefs.available<25%", "<", zero=False), {}, {}, {})
# What no node ends for want of room.
CRITICAL = scheduling.PriorityClass(metadata=meta.ObjectMeta(name="system-node-critical"), value=2_000_001_000)
COUNTS = "i=0; while sleep 0.05; do i=$((i+1)); echo $i; done"
WRITES = f"head -c 200000 /dev/zero > /tmp/a; {COUNTS}"
FLOODS = "while [ ! -e /dev/shm/begin ]; do sleep 0.05; done; busybox yes it is written and written again"


@pytest.fixture
async def engine() -> AsyncIterator[OwnEngine]:
    folder = Path(tempfile.mkdtemp(prefix="knarr-engine-"))
    (folder / "data").mkdir()
    mount_tmpfs(folder / "data", 0o711, 64 * MI)
    made = OwnEngine(folder)
    try:
        made.start()
        yield made
    finally:
        made.remove()


def talker(name: str, script: str, priority_class: str = "") -> core.Pod:
    pod = make_pod(name)
    pod.spec.priority_class_name, pod.spec.termination_grace_period_seconds = priority_class, 1
    pod.spec.containers[0].image = "knarr-test/busybox:full"
    pod.spec.containers[0].command.extend(["sh", "-c", script])
    return pod


async def last_line(cluster: Cluster, name: str) -> int:
    observed = cluster.observed(name)
    assert observed is not None
    output = cluster.runtime.logs(observed.containers[0].id, LogOptions(tail_lines=1))
    # What is written while the last line is looked for comes behind it.
    lines = b"".join([piece async for piece in output]).split()
    return int(lines[-1]) if lines else 0


def under_pressure(cluster: Cluster) -> bool:
    return condition(cluster.api.all(core.Node)[0], "DiskPressure") == "True"


async def test_logs_that_fill_it_end_their_pod_alone(engine: OwnEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others go on and are heard again, and once there is room the node takes pods as before."""
    monkeypatch.setattr(keeper, "PERIOD_SECONDS", 0.2)
    settings = replace(unique_settings(engine.url), log_max_bytes=100 * MI)
    runtime, client = DockerRuntime(settings), Engine(engine.url, 60.0)
    try:
        await import_busybox(client, "full")
        own: dict[str, Any] = {"pod_cidr": settings.pod_cidr, "thresholds": THRESHOLDS, "pressure_transition_seconds": 1.0}
        async with running(runtime, tmp_path / "kubelet", **own) as cluster:
            await cluster.client.create(CRITICAL)
            for pod in (talker("kept", COUNTS, CRITICAL.metadata.name), talker("modest", WRITES), talker("greedy", FLOODS)):
                await cluster.client.create(pod)
            before = {name: await cluster.ready(name) for name in ("kept", "modest", "greedy")}
            assert not under_pressure(cluster)
            greedy = cluster.observed("greedy")
            assert greedy is not None
            await (await runtime.exec(greedy.containers[0].id, ("sh", "-c", "echo > /dev/shm/begin"), stdin=False, tty=False)).close()
            await cluster.until(lambda: under_pressure(cluster))
            evicted = await cluster.phase("Failed", "greedy")
            assert evicted.status.message.startswith("The node was low on resource: ephemeral-storage. ")
            await cluster.until(lambda: cluster.observed("greedy") is None)
            await cluster.until(lambda: not under_pressure(cluster))
            for name in ("kept", "modest"):
                seen = await last_line(cluster, name)
                while await last_line(cluster, name) <= seen:
                    pass
                now, observed = await cluster.ready(name), cluster.observed(name)
                assert now.status.container_statuses == before[name].status.container_statuses
                assert observed is not None and [container.state for container in observed.containers] == [RUNNING]
            await cluster.client.create(talker("later", COUNTS))
            await cluster.ready("later")
    finally:
        await runtime.close()
        await remove_everything(settings.cluster_id, engine.url, image=False)
        await client.close()
