"""A cluster in the process of tests (``knarr.pytest``): how long a run of tests waits for it."""

from __future__ import annotations

import json
import statistics
import sys

from bench.cluster import run
from bench.result import Result

RUNS = 5
KIND = "kind"
KIND_SECONDS = 33.0
# In a process of its own, as a run of tests is one: what is loaded counts. Linux tells when a process began in ticks since boot.
PROGRAM = """
import json, os, sys, time
from knarr.pytest import started

made = started("hollow", sys.argv[1], 1)
with open("/proc/self/stat") as file:
    began = int(file.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
whole = time.clock_gettime(time.CLOCK_BOOTTIME) - began
made.stop()
print(json.dumps([made.took.loading, made.took.starting, whole]))
"""


async def starts() -> list[Result]:
    """The median of five starts each: over objects in memory, and over etcd."""
    # As every installation does.
    await run(sys.executable, "-m", "compileall", "-q", "knarr", "services")
    memory, whole = await _median("memory")
    etcd, _ = await _median("etcd")
    return [
        Result("inprocess-memory", memory, "s", KIND, KIND_SECONDS, "≤ 0.3 s", memory <= 0.3),
        Result("inprocess-whole", whole, "s", KIND, KIND_SECONDS, "≤ 1 s", whole <= 1.0),
        Result("inprocess-etcd", etcd, "s", KIND, KIND_SECONDS, "≤ 0.8 s", etcd <= 0.8),
    ]


async def _median(store: str) -> tuple[float, float]:
    """Seconds from what is loaded to a node that is ready, and from the start of the process to that."""
    found = [json.loads(await run(sys.executable, "-c", PROGRAM, store)) for _ in range(RUNS)]
    return statistics.median(starting for _, starting, _ in found), statistics.median(whole for _, _, whole in found)
