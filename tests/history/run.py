"""One run of the history checker, and many: ``python -m tests.history.run --seconds 60 --seeds 1-60``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.history.checks import violations
from tests.history.clients import COUNTER, Client, Watcher
from tests.history.cluster import SHAPES, Cluster, running_cluster
from tests.history.faults import Faults
from tests.history.records import OK, History

CLIENTS, WATCHERS = 6, 3
CONVERGE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Report:
    seed: str
    history: History
    violations: list[str]

    def __str__(self) -> str:
        outcomes = Counter(operation.outcome for operation in self.history.operations)
        counted = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
        changes = sum(len(epoch.changes) for epoch in self.history.epochs)
        writers = [lead.writer for epoch in self.history.epochs for lead in epoch.leads if lead.writer]
        verdict = "clean" if not self.violations else f"{len(self.violations)} violations"
        lines = [
            f"seed {self.seed}: {verdict}; {counted}; {changes} changes, {len(writers)} writes of {len(set(writers))} leaders, "
            f"{len(self.history.segments)} watches, {len(self.history.faults)} faults, {len(self.history.epochs)} epochs"
        ]
        lines += self.violations[:20]
        return "\n  ".join([*lines, *self.history.faults] if self.violations else lines)


async def run(seed: int, seconds: float, folder: Path, shape: str = "pair", least: int = 0) -> Report:
    """Lets clients work and faults happen for so long, heals everything, and judges what was. Where the machine was too busy for ``least``
    operations, clients go on until there are so many, but not for ever."""
    source, history = random.Random(seed), History()
    async with running_cluster(folder, history, source, SHAPES[shape]) as cluster:
        clients = [Client(f"c{number}", cluster, random.Random(source.random())) for number in range(CLIENTS)]
        watchers = [Watcher(f"w{number}", cluster, random.Random(source.random())) for number in range(WATCHERS)]
        working = [asyncio.create_task(client.run()) for client in clients]
        watching = [asyncio.create_task(watcher.run()) for watcher in watchers]
        try:
            await Faults(cluster, random.Random(source.random())).run(seconds, restore=source.random() < 0.5 and SHAPES[shape].restore)
            await cluster.leaders.leave_alone()
            await _worked(history, least)
            await cluster.hold_still()
            cluster.open.set()
            for task in working:
                task.cancel()
            found = await _converged(cluster, watchers)
        finally:
            for task in (*working, *watching):
                task.cancel()
            ended = await asyncio.gather(*working, *watching, return_exceptions=True)
        broken = [f"a client ended: {error!r}" for error in ended if isinstance(error, Exception)]
        await cluster.recorded()
    return Report(f"{seed} ({shape})", history, [*found, *broken, *violations(history)])


async def _worked(history: History, least: int) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CONVERGE_SECONDS):
            while len(history.operations) < least:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def _converged(cluster: Cluster, watchers: list[Watcher]) -> list[str]:
    """A last write comes to every server and every watch, and somebody leads after it."""
    last = Client("last", cluster, random.Random(0))
    try:
        async with asyncio.timeout(CONVERGE_SECONDS):
            while (operation := await last.create(f"{COUNTER}-end-{last.token()}")).outcome != OK:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            for _ in range(6):
                await last.list()
            while any(watcher.reached < operation.revision for watcher in watchers):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            while not any(lead.writer and lead.revision > operation.revision for lead in cluster.history.epochs[-1].leads):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    except TimeoutError:
        reached = [watcher.reached for watcher in watchers]
        caches = [server.backend.cache.revision for server in cluster.servers]
        led = cluster.history.epochs[-1].leads[-1:]
        where = f"watches at {reached}, servers at {caches}, etcd at {await cluster.direct.newest_revision()}, last lead {led}"
        return [f"did not converge within {CONVERGE_SECONDS:.0f} s of the last fault: {where}"]
    return []


def _seeds(text: str) -> list[int]:
    """``7``, ``1-60`` or ``3,5,9``."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long clients and faults go on in each run")
    parser.add_argument("--seeds", type=_seeds, default=None, help="as in 7, 1-60 or 3,5,9; a random one if absent")
    parser.add_argument(
        "--shape", choices=SHAPES, default="", help="two servers, one alone, or two over three members; all in turn if absent"
    )
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    seeds = arguments.seeds or [time.time_ns() % 1_000_000]
    failed = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(KeyboardInterrupt):
            shape = arguments.shape or list(SHAPES)[seed % len(SHAPES)]
            report = asyncio.run(run(seed, arguments.seconds, Path(folder), shape))
            print(report, flush=True)
            if report.violations:
                failed.append(seed)
    print(f"{len(seeds) - len(failed)} of {len(seeds)} runs were clean" + (f"; not: {','.join(map(str, failed))}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
