"""How much CPU and memory the node and its containers use. It is looked only while somebody asks: each look costs the engine a call for
every container.

How fast CPU time is used takes two looks. The first who asks after a while waits for the second one, ``FIRST_WINDOW_SECONDS`` later; from
then on it is looked every ``WINDOW_SECONDS``, until nobody has asked for ``IDLE_SECONDS``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from knarr.client.clock import Clock
from services.kubelet.proc import PROC, meminfo
from services.kubelet.runtime.plan import PodRef
from services.kubelet.runtime.port import Runtime, RuntimeFailure
from services.kubelet.runtime.usage import Usage

log = logging.getLogger(__name__)

FIRST_WINDOW_SECONDS, WINDOW_SECONDS = 1.0, 15.0
IDLE_SECONDS = 300.0
# Linux counts CPU time in hundredths of a second here.
TICK_NANOSECONDS = 10_000_000

# Whose use it is; None is the machine.
Subject = tuple[PodRef, str] | None


@dataclass(frozen=True, slots=True)
class Look:
    """What was used by ``time``: CPU since the start in nanoseconds, memory in bytes."""

    time: datetime
    used: dict[Subject, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Measured:
    """``nanocores`` is CPU time a second over the ``window`` that ended at ``time``; None for what was there at one end of it only."""

    cpu_nanoseconds: int
    memory_bytes: int
    time: datetime
    window: timedelta
    nanocores: int | None


def measured(before: Look | None, now: Look) -> dict[Subject, Measured]:
    """What two looks say. Of a counter that went back (the container was started again) there is no rate. Pure."""
    window = now.time - before.time if before is not None else timedelta()
    found: dict[Subject, Measured] = {}
    for subject, (cpu, memory) in now.used.items():
        earlier = before.used.get(subject) if before is not None else None
        nanocores = None
        if earlier is not None and window > timedelta() and cpu >= earlier[0]:
            nanocores = round((cpu - earlier[0]) / window.total_seconds())
        found[subject] = Measured(cpu, memory, now.time, window, nanocores)
    return found


class Stats:
    """``run`` once, until cancelled; ``machine`` answers CPU time and memory of this machine. Who has a ``part`` of it alone uses what its
    pods use."""

    def __init__(self, runtime: Runtime, clock: Clock, machine: Callable[[], tuple[int, int]] | None = None, *, part: bool = False) -> None:
        self._whole = runtime.uses_machine and not part
        self._runtime, self._clock = runtime, clock
        self._machine = machine or read_use
        self._looks: list[Look] = []
        self._asked = asyncio.Event()
        self._looked = asyncio.Event()
        self._asked_at = clock.now() - timedelta(days=1)
        self._failure: RuntimeFailure | None = None

    async def current(self) -> dict[Subject, Measured]:
        """What the last two looks say. Raises RuntimeFailure where the engine does not answer."""
        self._asked_at = self._clock.now()
        self._asked.set()
        while len(self._looks) < 2:
            await self._looked.wait()
            if self._failure is not None and len(self._looks) < 2:
                raise self._failure
        return measured(*self._looks)

    async def run(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            while self._clock.now() - self._asked_at < timedelta(seconds=IDLE_SECONDS):
                await self._look()
                await asyncio.sleep(WINDOW_SECONDS if len(self._looks) > 1 else FIRST_WINDOW_SECONDS)
            self._looks.clear()
            self._looked.clear()

    async def _look(self) -> None:
        try:
            usages = await self._runtime.usage()
            self._looks = [*self._looks[-1:], Look(self._clock.now(), self._used(usages))]
            self._failure = None
        except RuntimeFailure as failure:
            log.warning("what containers use cannot be seen", extra={"error": str(failure)})
            self._looks, self._failure = [], failure
        # Wakes those who wait, and lets the next ones wait.
        self._looked.set()
        if len(self._looks) < 2:
            self._looked.clear()

    def _used(self, usages: list[Usage]) -> dict[Subject, tuple[int, int]]:
        used: dict[Subject, tuple[int, int]] = {}
        for usage in usages:
            used[usage.pod, usage.container] = (usage.cpu_nanoseconds, usage.memory_bytes)
        if self._whole:
            used[None] = self._machine()
        else:
            used[None] = (sum(usage.cpu_nanoseconds for usage in usages), sum(usage.memory_bytes for usage in usages))
        return used


def read_use() -> tuple[int, int]:
    """CPU time of all processes in nanoseconds since the boot, and memory that is not available, in bytes. Read from /proc."""
    ticks = [int(word) for word in (PROC / "stat").read_text().partition("\n")[0].split()[1:9]]
    # user, nice, system, idle, iowait, irq, softirq, steal: what was idle, and what others took, was not used.
    busy = sum(ticks) - ticks[3] - ticks[4] - (ticks[7] if len(ticks) > 7 else 0)
    memory = meminfo()
    return busy * TICK_NANOSECONDS, memory["MemTotal"] - memory["MemAvailable"]
