"""When containers are probed: a period apart, however long the answers take."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.container.probes import Prober
from services.kubelet.pod.context import PodContext
from services.kubelet.pod.facts import PodFacts
from services.kubelet.runtime.plan import PodRef
from services.kubelet.runtime.port import RUNNING, Check, Container, PodObservation, ProbeResult
from tests.kubelet.support import make_pod
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
