"""A pod's worker that fails is followed by one that begins as after a restart of the kubelet: from what the API and the engine tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.runtime.hollow import HollowRuntime, HollowSettings
from services.kubelet.runtime.port import PodObservation
from tests.kubelet.support import Cluster, make_pod, running
from tests.support.virtual_time import VirtualClock, virtual_time


class Blind(HollowRuntime):
    """Fails whoever looks at a pod, as long as it is told to."""

    broken = False

    def observe(self, uid: str) -> PodObservation | None:
        if self.broken:
            raise ArithmeticError("what nobody thought of")
        return super().observe(uid)


@asynccontextmanager
async def failing_worker(folder: Path) -> AsyncIterator[Cluster]:
    """A pod whose container takes an hour to start, and whose worker has just failed, with its first status unwritten."""
    clock = VirtualClock()
    runtime = Blind("10.244.0.0/24", HollowSettings(start_seconds=3600), clock)
    async with running(runtime, folder, clock=clock) as cluster:
        await cluster.client.create(make_pod())
        await cluster.until(lambda: cluster.observed() and cluster.observed().containers)  # type: ignore[union-attr]
        (worker,) = cluster.kubelet.manager.workers.values()
        runtime.broken = True
        worker.wake()
        await cluster.until(lambda: not cluster.kubelet.manager.workers)
        runtime.broken = False
        assert not cluster.pod().status.HasField("start_time")  # type: ignore[union-attr]
        yield cluster


@virtual_time
async def test_a_status_that_a_worker_took_along_is_told_by_the_next(tmp_path: Path) -> None:
    async with failing_worker(tmp_path) as cluster:
        await asyncio.sleep(10)
        assert cluster.pod().status.HasField("start_time")  # type: ignore[union-attr]


@virtual_time
async def test_a_pod_that_goes_while_its_worker_is_away_leaves_nothing(tmp_path: Path) -> None:
    async with failing_worker(tmp_path) as cluster:
        await cluster.client.delete(core.Pod, "web", "default", grace_period_seconds=0)
        await asyncio.sleep(60)
        assert not cluster.kubelet.manager.workers and not cluster.runtime.observed()
