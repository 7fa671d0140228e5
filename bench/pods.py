"""How long a pod takes from its creation until somebody who watches sees it run, and a container until it runs again."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from bench.cluster import TIMEOUT_SECONDS, BenchCluster, cluster, run
from bench.engine_baseline import bare
from bench.result import Result
from services.kubelet.runtime.plan import PodRef

IMAGE, COMMAND = "hello:1", ("/bin/sleep", "1000000")
PODS_PATH = "/api/v1/namespaces/default/pods"
ROUNDS, BURST, KILLS = 20, 100, 7
# As many as the kubelet starts at once.
AT_ONCE = 8
ENGINE = "the engine alone"


def pod(name: str, **spec: Any) -> dict[str, Any]:
    """A pod of one container that only sleeps, and that is gone at once when it is deleted."""
    container = {"name": "app", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": list(COMMAND)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"bench": "pods"}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0, **spec},
    }


class Watched:
    """What a watch of all pods tells, as it tells it."""

    def __init__(self) -> None:
        self.pods: dict[str, dict[str, Any]] = {}
        self._changed = asyncio.Condition()

    async def hear(self, event: dict[str, Any]) -> None:
        found = event["object"]
        if event["type"] == "DELETED":
            self.pods.pop(found["metadata"]["name"], None)
        else:
            self.pods[found["metadata"]["name"]] = found
        async with self._changed:
            self._changed.notify_all()

    async def until(self, condition: Any) -> float:
        """The time.monotonic() at which ``condition(pods)`` was seen to be true."""
        async with asyncio.timeout(TIMEOUT_SECONDS), self._changed:
            await self._changed.wait_for(lambda: condition(self.pods))
            return time.monotonic()

    async def until_runs(self, name: str, restarts: int = 0) -> float:
        return await self.until(lambda pods: _runs(pods.get(name), restarts))

    async def until_none(self) -> None:
        await self.until(lambda pods: not pods)


def _runs(found: dict[str, Any] | None, restarts: int = 0) -> bool:
    statuses = (found or {}).get("status", {}).get("containerStatuses", [])
    return bool(statuses) and all("running" in status["state"] and status["restartCount"] >= restarts for status in statuses)


@asynccontextmanager
async def watched(bench: BenchCluster) -> AsyncIterator[Watched]:
    """Follows all pods until the end of the block."""
    seen = Watched()
    listed = await bench.request("GET", PODS_PATH)
    path = f"{bench.server}{PODS_PATH}?watch=true&resourceVersion={listed['metadata']['resourceVersion']}"

    async def follow() -> None:
        async with bench.session.get(path, timeout=aiohttp.ClientTimeout(total=None)) as answer:
            async for line in answer.content:
                await seen.hear(json.loads(line))

    following = asyncio.create_task(follow(), name="bench/watch")
    try:
        yield seen
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def _timed(bench: BenchCluster, seen: Watched, name: str) -> float:
    started = time.monotonic()
    runs = asyncio.create_task(seen.until_runs(name))
    await bench.request("POST", PODS_PATH, pod(name))
    return await runs - started


async def _clear(bench: BenchCluster, seen: Watched) -> None:
    await bench.request("DELETE", PODS_PATH)
    await seen.until_none()


async def pod_start() -> list[Result]:
    """One pod after the other, each beside one of the engine alone."""
    await run("examples/hello/build.sh")
    async with cluster() as bench, watched(bench) as seen, bare(image=IMAGE, command=COMMAND) as alone:
        ours, engine = [], []
        for number in range(ROUNDS):
            engine.append(await alone.pod(f"alone-{number}"))
            ours.append(await _timed(bench, seen, f"start-{number}"))
        await _clear(bench, seen)
    value, peer = statistics.median(ours), statistics.median(engine)
    return [Result("pod-start", 1000 * value, "ms", ENGINE, 1000 * peer, "≤ 1.1 × the engine", value <= 1.1 * peer)]


async def pod_burst() -> list[Result]:
    """A hundred pods at the same moment, beside the engine alone with as many at once as the kubelet starts."""
    await run("examples/hello/build.sh")
    async with cluster() as bench, watched(bench) as seen:
        p99 = await _burst(bench, seen)
    async with bare(image=IMAGE, command=COMMAND) as alone:
        gate, started = asyncio.Semaphore(AT_ONCE), time.monotonic()

        async def one(number: int) -> float:
            async with gate:
                await alone.pod(f"alone-{number}")
                return time.monotonic() - started

        engine = percentile(await asyncio.gather(*(one(number) for number in range(BURST))), 0.99)
    return [Result("pod-burst", p99, "s", ENGINE, engine, "p99 ≤ 3 s", p99 <= 3)]


async def pod_burst_simulated() -> list[Result]:
    """The same on a node without an engine: what Knarr itself takes."""
    async with cluster(runtime="hollow", datapath="userspace") as bench, watched(bench) as seen:
        p99 = await _burst(bench, seen)
    return [Result("pod-burst-simulated", p99, "s", "", 0, "p99 ≤ 3 s", p99 <= 3)]


async def _burst(bench: BenchCluster, seen: Watched) -> float:
    found = percentile(await asyncio.gather(*(_timed(bench, seen, f"burst-{number}") for number in range(BURST))), 0.99)
    await _clear(bench, seen)
    return found


async def container_restart() -> list[Result]:
    """A container's process is killed, for the first time → it runs again, as a watch tells it; beside one that the engine makes."""
    await run("examples/hello/build.sh")
    async with cluster() as bench, watched(bench) as seen, bare(image=IMAGE, command=COMMAND) as alone:
        found, engine = [], []
        beside = PodRef("default", "beside", "beside")
        sandbox = await alone.sandbox(beside)
        for number in range(KILLS):
            started = time.monotonic()
            await alone.container(beside, sandbox, number)
            engine.append(time.monotonic() - started)
            found.append(await _killed(bench, seen, f"killed-{number}"))
        await _clear(bench, seen)
    value, peer = statistics.median(found), statistics.median(engine)
    return [Result("container-restart", value, "s", "the engine makes one", peer, "≤ 0.3 s", value <= 0.3)]


async def _killed(bench: BenchCluster, seen: Watched, name: str) -> float:
    await _timed(bench, seen, name)
    engine_id = seen.pods[name]["status"]["containerStatuses"][0]["containerID"].rpartition("://")[2]
    process = int(await run("docker", "inspect", "--format", "{{.State.Pid}}", engine_id))
    # What the pod's start left to be done is over by then.
    await asyncio.sleep(0.5)
    again = asyncio.create_task(seen.until_runs(name, restarts=1))
    started = time.monotonic()
    os.kill(process, signal.SIGKILL)
    return await again - started


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that so great a share of them does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
