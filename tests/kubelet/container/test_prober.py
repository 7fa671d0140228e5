"""When containers are probed: a period apart, however long the answers take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import codec
from knarr.service.virtual_time import SoleVirtualLoop
from services.kubelet.container.probes import Prober
from services.kubelet.pod.context import PodContext
from services.kubelet.pod.facts import PodFacts
from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.runtime.plan import PodRef
from services.kubelet.runtime.port import RUNNING, Check, Container, ExecCheck, PodObservation, ProbeResult
from tests.kubelet.support import NODE, condition, make_pod, running
from tests.support.virtual_time import START, VirtualClock, run


class Answering:
    """Answers each probe after the seconds that are next, and remembers when it was asked."""

    def __init__(self, seconds: list[float]) -> None:
        self._seconds, self.asked = seconds, list[float]()
        self.done = asyncio.Event()

    async def check(self, container_id: str, check: Check, timeout_seconds: float) -> ProbeResult:
        self.asked.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self._seconds.pop(0))
        if not self._seconds:
            self.done.set()
            await asyncio.Event().wait()
        return ProbeResult(True, "")


class Witness(HollowRuntime):
    """Remembers what it was asked, and how ready the pod was told to be then."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__("10.244.0.0/24", clock=clock)
        self.well, self.asked = True, list[tuple[str, str]]()
        self.told: Callable[[], str] = str

    async def check(self, container_id: str, check: Check, timeout_seconds: float) -> ProbeResult:
        assert isinstance(check, ExecCheck)
        self.asked.append((check.command[0], self.told()))
        return ProbeResult(self.well, "")


async def asked_at(seconds: list[float], *, delay_seconds: int = 0, started_at: Any = START) -> list[float]:
    pod, runtime, facts = make_pod(), Answering([*seconds, 0.0]), PodFacts(START)
    spec = pod.spec.containers[0]
    spec.readiness_probe.CopyFrom(core.Probe(period_seconds=10, initial_delay_seconds=delay_seconds))
    spec.readiness_probe.handler.exec.command.append("true")
    shared = SimpleNamespace(runtime=runtime, clock=VirtualClock())
    context = cast(PodContext, SimpleNamespace(shared=shared, facts=facts, events=SimpleNamespace(container=lambda *_: None)))
    prober = Prober(context, lambda: None)
    container = Container("id", spec.name, 0, RUNNING, "app:1", "", "", 0, None, started_at=started_at)
    prober.follow(pod, PodObservation(PodRef("default", "web", "uid"), containers=(container,)), stopping=False)
    await runtime.done.wait()
    await prober.close()
    return runtime.asked


@pytest.mark.parametrize(
    ("seconds", "asked"),
    [
        ([0, 0, 0], [0, 10, 20, 30]),
        ([4, 9, 0], [0, 10, 20, 30]),
        # What was missed is made up for once.
        ([12, 0, 0], [0, 12, 20, 30]),
        ([35, 0, 0], [0, 35, 40, 50]),
        ([15, 15, 15], [0, 15, 30, 45]),
    ],
)
def test_an_answer_that_is_waited_for_delays_no_other(seconds: list[float], asked: list[float]) -> None:
    found: list[float] = []

    async def play() -> None:
        found.extend(await asked_at(seconds))

    run(play())
    assert found == asked


@pytest.mark.parametrize(("before", "first"), [(0, 30), (20, 10), (40, 0), (-3600, 30)])
def test_the_first_is_delayed_by_no_more_than_is_asked_for(before: int, first: float) -> None:
    """Also where the clock was set back since the container was started."""
    found: list[float] = []

    async def play() -> None:
        found.extend(await asked_at([0], delay_seconds=30, started_at=START - timedelta(seconds=before)))

    run(play())
    assert found[0] == first


@pytest.mark.parametrize("static", [False, True])
def test_a_new_kubelet_holds_a_container_for_ready_until_its_probe_says_otherwise(static: bool, tmp_path: Path) -> None:
    """As the one before told, and asks no more whether it has started."""
    run(_answers_of_two_kubelets(tmp_path, static=static), loop=SoleVirtualLoop)


async def _answers_of_two_kubelets(place: Path, *, static: bool) -> None:
    clock = VirtualClock()
    runtime = Witness(clock)
    pod = make_pod()
    for probe, command in ((pod.spec.containers[0].startup_probe, "begun"), (pod.spec.containers[0].readiness_probe, "ready")):
        probe.MergeFrom(core.Probe(period_seconds=10, failure_threshold=3))
        probe.handler.exec.command.append(command)
    shown = f"web-{NODE}" if static else "web"
    changes: dict[str, Any] = {"manifest_path": place / "manifests"} if static else {}
    if static:
        (place / "manifests").mkdir()
        (place / "manifests/web.json").write_bytes(codec.to_json(pod))
    async with running(runtime, place, clock=clock, **changes) as cluster:
        if not static:
            await cluster.client.create(pod)
        runtime.told = lambda: condition(cluster.pod(shown), "Ready")
        await cluster.ready(shown)
    assert {asked for asked, _ in runtime.asked} == {"begun", "ready"}
    runtime.asked.clear()
    runtime.well = False
    async with running(runtime, place, cluster.api, clock, **changes) as cluster:
        await cluster.until(lambda: condition(cluster.pod(shown), "Ready") == "False", 60)
    # A pod of the node's own begins before the API has told what was known of it.
    assert runtime.asked[static:] == [("ready", "True")] * 3


class Late:
    """Fails, each time after so many seconds of which the process stood still for some."""

    def __init__(self, still_seconds: list[float]) -> None:
        self._still, self.done = still_seconds, asyncio.Event()

    async def check(self, container_id: str, check: Check, timeout_seconds: float) -> ProbeResult:
        await asyncio.sleep(0.7)
        still = self._still.pop(0)
        if not self._still:
            self.done.set()
            await asyncio.Event().wait()
        # Nothing runs meanwhile, but the clock.
        asyncio.get_running_loop()._jumping.now += still  # type: ignore[attr-defined]
        return ProbeResult(False, "timed out")


@pytest.mark.parametrize(
    ("still", "results"),
    [
        ([0.0, 0.0], {"failed": 2}),
        ([9.0, 0.0], {"unknown": 1, "failed": 1}),
        ([0.9, 9.0, 600.0], {"failed": 1, "unknown": 2}),
    ],
)
def test_who_had_no_time_to_answer_has_not_failed(still: list[float], results: dict[str, int]) -> None:
    """A cluster that is paused, or a machine that sleeps, ends no containers that are well."""
    found: dict[str, int] = {}

    async def play() -> None:
        pod, facts, runtime = make_pod(), PodFacts(START), Late([*still, 0.0])
        spec = pod.spec.containers[0]
        spec.liveness_probe.CopyFrom(core.Probe(period_seconds=10, failure_threshold=9))
        spec.liveness_probe.handler.exec.command.append("true")
        shared = SimpleNamespace(runtime=runtime, clock=VirtualClock())
        context = cast(PodContext, SimpleNamespace(shared=shared, facts=facts, events=SimpleNamespace(container=lambda *_: None)))
        prober = Prober(context, lambda: None)
        container = Container("id", spec.name, 0, RUNNING, "app:1", "", "", 0, None, started_at=START)
        prober.follow(pod, PodObservation(PodRef("default", "web", "uid"), containers=(container,)), stopping=False)
        await runtime.done.wait()
        await prober.close()
        found.update({result: count for (_, _, result), count in prober.results.items()})

    run(play())
    assert found == results
