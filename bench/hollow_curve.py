"""What a cluster takes with its nodes: ``python -m bench.hollow_curve NODES…`` adds a line for each to bench/hollow-curve.json.

``make bench ONLY=hollow-10000`` has a thousand nodes run ten thousand pods. All nodes are simulated in the one process of ``knarr up``.
Times of the processor are told, which other work on the machine makes longer by its caches only; what stood on the clock is told beside
the load, by which it is to be read.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.cluster import BenchCluster, cluster, etcd_megabytes, resident_megabytes
from bench.kube_apiserver import cpu_seconds
from bench.result import Result
from bench.workloads import deployment
from tests.support.ports import free_port

FILE = Path(__file__).parent / "hollow-curve.json"
REST_SECONDS, SETTLE_SECONDS, POLL_SECONDS = 60.0, 15.0, 1.0
# Where other work keeps the processors busy ten times over, what takes a minute takes ten.
MOST_SECONDS = 1800.0
NODES, WORKLOADS, PODS_EACH = 1_000, 10, 1_000
REST_TARGET, PODS_TARGET, MEMORY_TARGET = 25.0, 60.0, 1200.0
NODES_PATH = "/api/v1/nodes"
DEPLOYMENTS_PATH = "/apis/apps/v1/namespaces/default/deployments"


@dataclass(frozen=True, slots=True)
class Point:
    """Memory in MB, etcd's apart; CPU in seconds of one core, or percent of one while nothing happens. ``load``: of the machine, mean
    over a minute when it began; 2 cores."""

    nodes: int
    load: float
    ready_seconds: float
    ready_cpu: float
    memory: float
    rest_percent: float
    pods: int
    pods_seconds: float
    pods_cpu: float
    pods_memory: float
    etcd_memory: float


async def measure(nodes: int, pods: int) -> Point:
    load = os.getloadavg()[0]
    began = time.monotonic()
    async with hollow_cluster(nodes) as bench:
        ready, ready_cpu = time.monotonic() - began, cpu_seconds(bench.pid)
        memory, rest = await _rest(bench)
        taken, used = await _run(bench, 1, pods)
        return Point(
            nodes, load, ready, ready_cpu, memory, rest, pods, taken, used, resident_megabytes(bench.pid), etcd_megabytes(bench.pid)
        )


async def ten_deployments() -> list[Result]:
    """What a thousand nodes take at rest; ten Deployments of a thousand, until all of their pods are ready; and what all that holds."""
    async with hollow_cluster(NODES) as bench:
        empty, rest = await _rest(bench)
        taken, used = await _run(bench, WORKLOADS, PODS_EACH)
        full, etcd = resident_megabytes(bench.pid), etcd_megabytes(bench.pid)
    return [
        Result("hollow-1000-rest", rest, "% of a core", "MB, no pods", empty, f"≤ {REST_TARGET:g} %", rest <= REST_TARGET),
        Result("hollow-10000", taken, "s", "s of a core", used, f"≤ {PODS_TARGET:g} s", taken <= PODS_TARGET),
        Result("hollow-10000-memory", full, "MB", "etcd", etcd, f"≤ {MEMORY_TARGET:g} MB", full <= MEMORY_TARGET),
    ]


@asynccontextmanager
async def hollow_cluster(nodes: int) -> AsyncIterator[BenchCluster]:
    """A cluster whose nodes are ready, all in the one process of ``knarr up``."""
    options = ["--nodes", str(nodes), "--hollow-port", str(free_port())]
    async with cluster(*options, runtime="hollow", datapath="userspace") as bench:
        await _until(lambda: _ready(bench, nodes))
        yield bench


async def _rest(bench: BenchCluster) -> tuple[float, float]:
    """While nothing happens: memory in MB, and percent of a core."""
    await asyncio.sleep(SETTLE_SECONDS)
    memory, before = resident_megabytes(bench.pid), cpu_seconds(bench.pid)
    await asyncio.sleep(REST_SECONDS)
    return memory, 100 * (cpu_seconds(bench.pid) - before) / REST_SECONDS


async def _run(bench: BenchCluster, count: int, replicas: int) -> tuple[float, float]:
    """So many Deployments, until all of their pods are ready: seconds on the clock, and of the processor."""
    before, begun = cpu_seconds(bench.pid), time.monotonic()
    for number in range(count):
        await bench.request("POST", DEPLOYMENTS_PATH, deployment(f"spread-{number}", replicas))
    await _until(lambda: _deployed(bench, count * replicas))
    return time.monotonic() - begun, cpu_seconds(bench.pid) - before


async def _until(done: Any) -> None:
    async with asyncio.timeout(MOST_SECONDS):
        while not await done():  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)


async def _ready(bench: BenchCluster, count: int) -> bool:
    found = (await bench.request("GET", NODES_PATH))["items"]
    return sum(any((one["type"], one["status"]) == ("Ready", "True") for one in node["status"]["conditions"]) for node in found) >= count


async def _deployed(bench: BenchCluster, pods: int) -> bool:
    found = (await bench.request("GET", DEPLOYMENTS_PATH))["items"]
    return sum(int(one["status"].get("readyReplicas") or 0) for one in found) >= pods


def _record(point: Point) -> None:
    found = json.loads(FILE.read_text()) if FILE.exists() else []
    kept = [one for one in found if one["nodes"] != point.nodes]
    rounded = {name: round(value, 1) if isinstance(value, float) else value for name, value in asdict(point).items()}
    FILE.write_text(json.dumps(sorted([*kept, rounded], key=lambda one: one["nodes"]), indent=1) + "\n")


if __name__ == "__main__":
    for number in map(int, sys.argv[1:]):
        found = asyncio.run(measure(number, number))
        print(found, flush=True)
        _record(found)
