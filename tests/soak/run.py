"""A node under waves of pods, and what is left of them: ``python -m tests.soak.run --pods 200 --seconds 1200``, which is ``make soak``.

A kubelet runs over the API in memory on a Docker engine, in this process, so that its tasks and descriptors can be told by name. The
node's range has room for little more than a wave: an address that is not given back is missed soon.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from services.kubelet.node.mounts import unmount_all
from services.kubelet.runtime.docker.engine import Engine
from services.kubelet.runtime.hollow import HollowRuntime
from tests.kubelet.docker_support import docker, unique_settings
from tests.kubelet.support import running
from tests.soak.checkers import Checker, ask_engine, left, of_engine, of_kubelet, of_memory, of_process, resident_bytes, snapshot
from tests.soak.outcome import Outcome, exit_code
from tests.soak.waves import REAL, SIMPLE, Kind, Wave, engine_strike, forget, play, prepare

# A kubelet that has seen its first waves has what it keeps for ever: modules, threads, arenas.
WARM_WAVES = 2
# Engines end processes and take interfaces away a moment after they have said that a container is gone.
REST_SECONDS = 15.0
# 29 addresses for pods.
NARROW = "10.254.77.0/27"


@dataclass(frozen=True, slots=True)
class Soak:
    """Waves of ``wave`` pods each, until there were ``pods`` at least and ``seconds`` are over."""

    pods: int = 200
    wave: int = 20
    seconds: float = 0.0


USUAL = Soak(seconds=1200.0)


@dataclass(frozen=True, slots=True)
class Report(Outcome):
    """Memory is that after the first waves, and after the last one."""

    pods: int
    waves: int

    def __str__(self) -> str:
        return self.told(f"{self.pods} pods in {self.waves} waves")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the pods run, and how what is left of them is found. ``look`` reads what the checkers tell of."""

    wave: Wave
    kinds: tuple[Kind, ...]
    checkers: list[Checker]
    look: Callable[[], Awaitable[None]]

    async def found(self) -> dict[str, Counter[str]]:
        # Before the engine is asked: the connection for that is no pod's.
        found = snapshot([*of_process(), *of_memory()])
        await self.look()
        return found | snapshot(self.checkers)


async def run(soak: Soak, place: Place, tell: Callable[[str], None] = lambda words: None) -> Report:
    """Plays the waves; ``tell`` hears of each."""
    cluster, begun = place.wave.cluster, time.monotonic()
    await prepare(cluster)
    before, memory, pods, waves = await place.found(), 0, 0, 0
    while pods < soak.pods or time.monotonic() - begun < soak.seconds:
        await play(place.wave, waves, soak.wave, place.kinds)
        pods, waves = pods + soak.wave, waves + 1
        # After each: what the API keeps of them is much more than what the kubelet does, and once it goes holes are left in the heap.
        await forget(cluster)
        tell(f"{pods} pods, {time.monotonic() - begun:.0f} s")
        if waves <= WARM_WAVES:
            memory = resident_bytes()
            # The first pods open what stays open for those that follow, and make what stays.
            before |= snapshot([*of_process(), *of_memory()])
    found = await _rest(place, before, soak.wave)
    await forget(cluster)
    return Report(time.monotonic() - begun, found, memory, resident_bytes(), pods, waves)


async def _rest(place: Place, before: dict[str, Counter[str]], wave: int) -> list[str]:
    """What is still left after a while."""
    deadline = time.monotonic() + REST_SECONDS
    while True:
        # Of what is kept of each pod there is more than a wave after the last one.
        found = left(before, await place.found(), wave)
        if not found or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.2)


@asynccontextmanager
async def on_docker(data_dir: Path) -> AsyncIterator[Place]:
    """A node on the machine's engine."""
    async with docker(replace(unique_settings(), pod_cidr=NARROW)) as (runtime, settings, image):
        engine, listed = Engine(settings.url, 60.0), dict[str, list[str]]()
        try:
            async with running(runtime, data_dir) as cluster:
                wave = Wave(cluster, image, engine_strike(engine))
                checkers = [*of_kubelet(cluster, data_dir), *of_engine(listed, settings.cluster_id)]
                look = lambda: ask_engine(engine, settings, listed)  # noqa: E731
                yield Place(wave, REAL, checkers, look)
        finally:
            await engine.close()
            unmount_all(data_dir)


@asynccontextmanager
async def on_hollow(data_dir: Path) -> AsyncIterator[Place]:
    """A node that simulates."""
    runtime = HollowRuntime(NARROW)
    async with running(runtime, data_dir) as cluster:

        async def strike(container_id: str) -> None:
            raise AssertionError("nobody kills what is not there")

        wave = Wave(cluster, "app:1", strike)
        yield Place(wave, SIMPLE, of_kubelet(cluster, data_dir), _nothing)


async def _nothing() -> None:
    return


async def _main(soak: Soak, hollow: bool) -> Report:
    with tempfile.TemporaryDirectory(prefix="knarr-soak-") as folder:
        async with (on_hollow if hollow else on_docker)(Path(folder)) as place:
            return await run(soak, place, lambda words: print(words, flush=True))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.run", description=__doc__)
    parser.add_argument("--pods", type=int, default=USUAL.pods, help="how many at least (default: %(default)s)")
    parser.add_argument("--wave", type=int, default=USUAL.wave, help="how many at once, 25 at most (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=USUAL.seconds, help="for how long at least (default: %(default)s)")
    parser.add_argument("--hollow", action="store_true", help="simulate the containers")
    arguments = parser.parse_args()
    return exit_code(_main(Soak(arguments.pods, arguments.wave, arguments.seconds), arguments.hollow))


if __name__ == "__main__":
    sys.exit(main())
