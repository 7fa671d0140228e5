"""What a cluster takes with its nodes: ``python -m bench.hollow_curve NODES…`` adds a line for each to bench/hollow-curve.json.

All nodes are simulated in the one process of ``knarr up``. Times of the processor are told, which other work on the machine makes longer
by its caches only; what stood on the clock is told beside the load, by which it is to be read.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.cluster import BenchCluster, cluster, etcd_megabytes, resident_megabytes
from bench.kube_apiserver import cpu_seconds
from bench.workloads import deployment
from tests.support.ports import free_port

FILE = Path(__file__).parent / "hollow-curve.json"
REST_SECONDS, SETTLE_SECONDS, POLL_SECONDS = 60.0, 15.0, 1.0
MOST_SECONDS = 240.0
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
    options = ["--nodes", str(nodes), "--hollow-port", str(free_port())]
    async with cluster(*options, runtime="hollow", datapath="userspace") as bench:
        await _until(lambda: _ready(bench, nodes))
        ready, ready_cpu = time.monotonic() - began, cpu_seconds(bench.pid)
        await asyncio.sleep(SETTLE_SECONDS)
        memory, before = resident_megabytes(bench.pid), cpu_seconds(bench.pid)
        await asyncio.sleep(REST_SECONDS)
        rest = 100 * (cpu_seconds(bench.pid) - before) / REST_SECONDS
        before, begun = cpu_seconds(bench.pid), time.monotonic()
        await bench.request("POST", DEPLOYMENTS_PATH, deployment("spread", pods))
        await _until(lambda: _deployed(bench, "spread", pods))
        taken, used = time.monotonic() - begun, cpu_seconds(bench.pid) - before
        return Point(
            nodes, load, ready, ready_cpu, memory, rest, pods, taken, used, resident_megabytes(bench.pid), etcd_megabytes(bench.pid)
        )


async def _until(done: Any) -> None:
    async with asyncio.timeout(MOST_SECONDS):
        while not await done():  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)


async def _ready(bench: BenchCluster, count: int) -> bool:
    found = (await bench.request("GET", NODES_PATH))["items"]
    return sum(any((one["type"], one["status"]) == ("Ready", "True") for one in node["status"]["conditions"]) for node in found) >= count


async def _deployed(bench: BenchCluster, name: str, pods: int) -> bool:
    status = (await bench.request("GET", f"{DEPLOYMENTS_PATH}/{name}"))["status"]
    return int(status.get("readyReplicas") or 0) >= pods


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
