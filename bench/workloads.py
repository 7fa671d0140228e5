"""Start, deploy, heal and memory of a real cluster with containers."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from typing import Any

from bench.cluster import BenchCluster, cluster, resident_megabytes, run
from bench.engine_baseline import bare_engine
from bench.result import Result

REPLICAS = 20
ENGINE_CONCURRENCY = 6
PEER = "Kubernetes 1.20.2"
SETTLE_SECONDS = 5.0


def deployment(name: str, replicas: int) -> dict[str, Any]:
    """A Deployment of a container that only sleeps."""
    labels = {"app": name}
    container = {"name": "app", "image": "hello:1", "imagePullPolicy": "IfNotPresent", "command": ["/bin/sleep", "1000000"]}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 0}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def _deployment_ready(replicas: int) -> Any:
    def done(event: dict[str, Any]) -> bool:
        status = event["object"].get("status", {})
        return bool(status.get("readyReplicas", 0) == replicas and status.get("replicas", 0) == replicas)

    return done


DEPLOYMENT_PATH = "/apis/apps/v1/namespaces/default/deployments?fieldSelector=metadata.name=twenty"
PODS_PATH = "/api/v1/namespaces/default/pods"


async def deploy(bench: BenchCluster, replicas: int) -> float:
    """Seconds from ``kubectl apply`` to all replicas ready."""
    started = time.monotonic()
    applied = asyncio.create_task(bench.kubectl("apply", "-f", "-", stdin=json.dumps(deployment("twenty", replicas)).encode()))
    finished = await bench.watch_until(DEPLOYMENT_PATH, _deployment_ready(replicas))
    await applied
    return finished - started


async def heal(bench: BenchCluster) -> float:
    """Seconds from the deletion of one pod to all replicas ready again."""
    pods = await bench.request("GET", PODS_PATH)
    victim = pods["items"][0]["metadata"]["name"]
    down_first = {"seen": False}

    def ready_again(event: dict[str, Any]) -> bool:
        ready = event["object"].get("status", {}).get("readyReplicas", 0)
        if ready < REPLICAS:
            down_first["seen"] = True
        return down_first["seen"] and ready == REPLICAS

    watching = asyncio.create_task(bench.watch_until(DEPLOYMENT_PATH, ready_again))
    await asyncio.sleep(0.2)  # the watch is open before the pod goes
    started = time.monotonic()
    await bench.request("DELETE", f"{PODS_PATH}/{victim}")
    return await watching - started


async def up_ready() -> list[Result]:
    """`knarr up` → node Ready, three times; the median."""
    # As every installation does: a start would compile what was changed since the last one.
    await run(sys.executable, "-m", "compileall", "-q", "knarr", "services")
    times = []
    for _ in range(3):
        async with cluster() as bench:
            times.append(bench.ready_seconds)
    value = statistics.median(times)
    return [Result("up-ready", value, "s", PEER, 8.2, "≤ 1.5 s", value <= 1.5)]


async def deploy_heal_memory() -> list[Result]:
    """20 replicas beside the bare engine in the same run, then one pod lost, then the memory at rest."""
    await run("examples/hello/build.sh")
    async with cluster() as bench:
        memory = resident_megabytes(bench.pid)
        engine_before = await bare_engine(REPLICAS, ENGINE_CONCURRENCY)
        seconds = await deploy(bench, REPLICAS)
        healed = statistics.median([await heal(bench) for _ in range(5)])
        await bench.kubectl("delete", "deployment", "twenty", "--wait=false")
        pods = await bench.request("GET", PODS_PATH)
        if pods["items"]:
            since = pods["metadata"]["resourceVersion"]
            await bench.watch_until(f"{PODS_PATH}?resourceVersion={since}", _none_left(pods))
        await asyncio.sleep(SETTLE_SECONDS)
        memory = max(memory, resident_megabytes(bench.pid))
        engine = min(engine_before, await bare_engine(REPLICAS, ENGINE_CONCURRENCY))
    return [
        Result("deploy-20", seconds, "s", "the engine alone", engine, "≤ 1.3 × the engine", seconds <= 1.3 * engine),
        Result("heal-pod", healed, "s", PEER, 1.06, "≤ 0.8 s", healed <= 0.8),
        Result("memory", memory, "MB", PEER, 618, "≤ 150 MB", memory <= 150),
    ]


def _none_left(pods: dict[str, Any]) -> Any:
    left = {pod["metadata"]["name"] for pod in pods["items"]}

    def done(event: dict[str, Any]) -> bool:
        if event["type"] == "DELETED":
            left.discard(event["object"]["metadata"]["name"])
        return not left

    return done
