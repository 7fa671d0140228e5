"""How much is used: looks, what two of them say, and that nobody looks unless somebody asks."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from knarr.api.kubelet.v1 import kubelet_service_pb2 as pb
from services.kubelet.node import stats
from services.kubelet.node.stats import Look, Stats, measured, read_use
from services.kubelet.runtime.hollow import HollowRuntime, HollowSettings
from services.kubelet.runtime.plan import PodRef
from services.kubelet.runtime.port import RuntimeFailure
from services.kubelet.runtime.usage import Usage
from services.kubelet.servicer import KubeletServicer
from tests.kubelet.support import make_pod, running
from tests.support.virtual_time import VirtualClock, virtual_time

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POD = PodRef("default", "web", "uid")


class Engine:
    """One container that uses half a core; ``failure`` is raised instead."""

    uses_machine = True

    def __init__(self, clock: VirtualClock) -> None:
        self._clock, self._begin = clock, clock.now()
        self.looks = 0
        self.failure: RuntimeFailure | None = None

    async def usage(self) -> list[Usage]:
        self.looks += 1
        if self.failure is not None:
            raise self.failure
        used = (self._clock.now() - self._begin) / timedelta(microseconds=1) * 500
        return [Usage(POD, "app", int(used), 1024)]


def test_two_looks() -> None:
    before = Look(NOW, {None: (0, 1), (POD, "again"): (500, 1), (POD, "gone"): (1, 1)})
    after = Look(NOW + timedelta(seconds=2), {None: (3_000_000_000, 7), (POD, "again"): (100, 2), (POD, "new"): (5, 3)})
    found = measured(before, after)
    assert {subject: use.nanocores for subject, use in found.items()} == {
        None: 1_500_000_000, (POD, "again"): None, (POD, "new"): None,
    }  # fmt: skip
    assert (found[None].memory_bytes, found[None].window) == (7, timedelta(seconds=2))
    assert measured(None, after)[None].nanocores is None


def test_the_machine_uses_something() -> None:
    cpu, memory = read_use()
    assert cpu > 1_000_000_000 and memory > 1 << 20


@virtual_time
async def test_looks_only_while_somebody_asks() -> None:
    clock = VirtualClock()
    engine: Any = Engine(clock)
    found = Stats(engine, clock, lambda: (0, 0))
    task = asyncio.create_task(found.run())
    try:
        await asyncio.sleep(1000)
        assert engine.looks == 0
        begin = clock.now()
        use = (await found.current())[POD, "app"]
        assert (use.nanocores, use.window) == (500_000_000, timedelta(seconds=1))
        assert clock.now() - begin == timedelta(seconds=1)
        await asyncio.sleep(16)
        assert (await found.current())[POD, "app"].window == timedelta(seconds=15)
        await asyncio.sleep(stats.IDLE_SECONDS * 2)
        looks = engine.looks
        await asyncio.sleep(1000)
        assert engine.looks == looks < 30
        # What was seen long ago says nothing about now.
        assert (await found.current())[POD, "app"].window == timedelta(seconds=1)
    finally:
        task.cancel()
        await asyncio.wait({task})


@virtual_time
async def test_an_engine_that_does_not_answer() -> None:
    clock = VirtualClock()
    engine: Any = Engine(clock)
    engine.failure = RuntimeFailure("cannot connect")
    found = Stats(engine, clock, lambda: (0, 0))
    task = asyncio.create_task(found.run())
    try:
        with pytest.raises(RuntimeFailure, match="cannot connect"):
            await found.current()
        engine.failure = None
        assert (await found.current())[POD, "app"].nanocores == 500_000_000
    finally:
        task.cancel()
        await asyncio.wait({task})


@virtual_time
async def test_a_node_that_has_a_part_of_the_machine_uses_what_its_pods_do() -> None:
    clock = VirtualClock()
    engine: Any = Engine(clock)
    found = Stats(engine, clock, lambda: (0, 1 << 40), part=True)
    task = asyncio.create_task(found.run())
    try:
        use = (await found.current())[None]
        assert (use.nanocores, use.memory_bytes) == (500_000_000, 1024)
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_a_hollow_node_uses_what_its_containers_do(tmp_path: Path) -> None:
    runtime = HollowRuntime("10.244.0.0/24", HollowSettings(cpu_milli=250, memory_bytes=64 << 20))
    async with running(runtime, tmp_path) as cluster:
        await cluster.client.create(make_pod())
        await cluster.ready()
        servicer = KubeletServicer(cluster.kubelet.manager, runtime, cluster.kubelet.stats)
        answer = await servicer.GetStats(pb.GetStatsRequest(), None)
        (container,) = answer.containers
        assert (container.container.pod, container.container.container) == ("web", "app")
        assert container.cpu_rate.nanocores == pytest.approx(250_000_000, rel=0.01)
        assert (answer.node.memory_bytes, container.memory_bytes) == (64 << 20, 64 << 20)
        assert answer.node.cpu_rate == container.cpu_rate
