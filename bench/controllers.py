"""The controllers under load: many workloads on many nodes whose containers are simulated, much deleted at once, and nothing to do."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bench.cluster import PORTS, BenchCluster, Server, cluster
from bench.kube_apiserver import cpu_seconds, started
from bench.result import Result
from bench.workloads import deployment
from tests.support.components import Components

NODES, DEPLOYMENTS, REPLICAS_EACH, REPLICAS = 20, 500, 2, 1_000
DEPLOYMENTS_TARGET, REPLICAS_TARGET, NAMESPACE_TARGET, IDLE_TARGET = 20.0, 12.0, 5.0, 1.0
COMPLETIONS, PARALLELISM, JOB_TARGET = 1_000, 50, 15.0
AT_ONCE = 16
DELETED = 1_000
# A Deployment has a ReplicaSet, and a Service has Endpoints and a slice: 5,000 objects, each of which some controller keeps.
KEPT_EACH = 1_000
SETTLE_SECONDS, IDLE_SECONDS, POLL_SECONDS = 20.0, 60.0, 0.5
DEPLOYMENTS_PATH = "/apis/apps/v1/namespaces/default/deployments"
JOBS_PATH = "/apis/batch/v1/namespaces/default/jobs"
SERVICES_PATH = "/api/v1/namespaces/default/services"


@asynccontextmanager
async def hollow_nodes(count: int) -> AsyncIterator[BenchCluster]:
    """A cluster with as many nodes, in a process of their own, as those of real machines would be. The cluster's own node, which is in
    the process of ``knarr up``, takes no pods."""
    async with cluster(runtime="hollow", datapath="userspace") as bench:
        await bench.kubectl("cordon", "--selector", "kubernetes.io/hostname")
        command = [sys.executable, "-m", "bench.hollow_nodes", f"127.0.0.1:{PORTS['apiserver']}", str(bench.data_dir / "pki/ca.crt")]
        nodes = await asyncio.create_subprocess_exec(*command, bench.token, str(count), stdout=asyncio.subprocess.PIPE)
        try:
            assert nodes.stdout is not None
            if not await nodes.stdout.readline():
                raise RuntimeError("the nodes did not start")
            yield bench
        finally:
            nodes.terminate()
            await nodes.wait()


async def many_deployments() -> list[Result]:
    """500 Deployments of 2 replicas on 20 nodes: from the first one's creation until all pods are ready."""
    ready = dict[str, int]()

    def done(event: dict[str, Any]) -> bool:
        found = event["object"]
        ready[found["metadata"]["name"]] = found.get("status", {}).get("readyReplicas", 0)
        return sum(ready.values()) == DEPLOYMENTS * REPLICAS_EACH

    async with hollow_nodes(NODES) as bench:
        seconds = await _timed(bench, done, lambda: _make(bench, DEPLOYMENTS_PATH, DEPLOYMENTS, _deployed(REPLICAS_EACH)))
    return [_seconds("deployments-500", seconds, DEPLOYMENTS_TARGET)]


async def one_deployment() -> list[Result]:
    """One Deployment of 1,000 replicas on 20 nodes."""

    def done(event: dict[str, Any]) -> bool:
        return bool(event["object"].get("status", {}).get("readyReplicas", 0) == REPLICAS)

    async with hollow_nodes(NODES) as bench:
        seconds = await _timed(bench, done, lambda: _make(bench, DEPLOYMENTS_PATH, 1, _deployed(REPLICAS)))
    return [_seconds("replicas-1000", seconds, REPLICAS_TARGET)]


async def one_job() -> list[Result]:
    """A Job of 1,000 completions, 50 at a time, whose containers end as soon as they begin, on 20 nodes."""

    def done(event: dict[str, Any]) -> bool:
        conditions = event["object"].get("status", {}).get("conditions", [])
        return any(found["type"] == "Complete" and found["status"] == "True" for found in conditions)

    async with hollow_nodes(NODES) as bench:
        seconds = await _timed(bench, done, lambda: _make(bench, JOBS_PATH, 1, _job), JOBS_PATH)
        finished = await bench.request("GET", f"{JOBS_PATH}/j0")
        pods = await bench.request("GET", "/api/v1/namespaces/default/pods?labelSelector=job-name=j0")
    assert finished["status"]["succeeded"] == len(pods["items"]) == COMPLETIONS, finished["status"]
    return [_seconds("job-1000", seconds, JOB_TARGET)]


def _job(number: int) -> dict[str, Any]:
    container = {"name": "app", "image": "hello:1", "imagePullPolicy": "IfNotPresent", "command": ["true"]}
    template = {"spec": {"containers": [container], "restartPolicy": "Never"}}
    spec = {"completions": COMPLETIONS, "parallelism": PARALLELISM, "template": template}
    return {"metadata": {"name": f"j{number}"}, "spec": spec}


async def namespace_deleted() -> list[Result]:
    """A namespace with 1,000 ConfigMaps: from the request to delete it until it is gone."""
    path = "/api/v1/namespaces/full/configmaps"
    async with cluster(runtime="hollow", datapath="userspace") as bench:
        await bench.request("POST", "/api/v1/namespaces", {"metadata": {"name": "full"}})
        await _make(bench, path, DELETED, lambda number: {"metadata": {"name": f"c{number}"}, "data": {"k": "v"}})
        since = (await bench.request("GET", path))["metadata"]["resourceVersion"]
        watched = f"/api/v1/namespaces?fieldSelector=metadata.name=full&resourceVersion={since}"
        watching = asyncio.create_task(bench.watch_until(watched, lambda event: event["type"] == "DELETED"))
        started = time.monotonic()
        await bench.request("DELETE", "/api/v1/namespaces/full")
        seconds = await watching - started
    return [_seconds("namespace-1000", seconds, NAMESPACE_TARGET)]


async def idle() -> list[Result]:
    """What the controllers, in a process of their own, take of a core when nothing happens: with 5,000 objects that they keep, and none."""
    async with controllers() as (parts, server):
        pid = parts.processes["controller"].pid
        without = await _idle_percent(pid)
        await _make(server, DEPLOYMENTS_PATH, KEPT_EACH, _deployed(0))
        await _make(server, SERVICES_PATH, KEPT_EACH, _service)
        await _all_kept(server)
        full = await _idle_percent(pid)
    return [Result("idle-5000", full, "% of a core", "without the objects", without, f"≤ {IDLE_TARGET:g} %", full <= IDLE_TARGET)]


class _Controllers(Components):
    """The API server and the controllers, who hold their lease as on a machine."""

    more: Mapping[str, tuple[str, ...]] = {
        "apiserver": ("--sole",),
        "controller": ("--leader-elect-lease-duration=15s", "--leader-elect-renew-deadline=10s", "--leader-elect-retry-period=2s"),
    }


@asynccontextmanager
async def controllers() -> AsyncIterator[tuple[Components, Server]]:
    """An API server and the controllers, each a process, over an etcd of their own."""
    with tempfile.TemporaryDirectory(prefix="knarr-bench-") as folder:
        parts = _Controllers(Path(folder))
        async with started(parts, "apiserver", "controller") as server:
            yield parts, server


async def _all_kept(server: Server) -> None:
    """Waits until each Deployment has its ReplicaSet and each Service its slice."""
    for path in ("/apis/apps/v1/namespaces/default/replicasets", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"):
        while True:
            found = await server.request("GET", f"{path}?limit=1")
            if 1 + found["metadata"].get("remainingItemCount", 0) >= KEPT_EACH:
                break
            await asyncio.sleep(POLL_SECONDS)


async def _timed(
    bench: BenchCluster, done: Callable[[dict[str, Any]], bool], make: Callable[[], Awaitable[None]], path: str = DEPLOYMENTS_PATH
) -> float:
    """Seconds from the first request to the event of a collection that ends it."""
    watching = asyncio.create_task(bench.watch_until(path, done))
    started, before = time.monotonic(), cpu_seconds(bench.pid)
    await make()
    finished = await watching
    print(f"  {cpu_seconds(bench.pid) - before:.1f} s of the cluster's own time, its nodes and etcd left out", flush=True)
    return finished - started


async def _make(server: Server, path: str, count: int, body: Callable[[int], dict[str, Any]]) -> None:
    """Makes objects, some at once."""
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await server.request("POST", path, body(number))

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


async def _idle_percent(pid: int) -> float:
    await asyncio.sleep(SETTLE_SECONDS)
    before, started = cpu_seconds(pid), time.monotonic()
    await asyncio.sleep(IDLE_SECONDS)
    return 100 * (cpu_seconds(pid) - before) / (time.monotonic() - started)


def _deployed(replicas: int) -> Callable[[int], dict[str, Any]]:
    return lambda number: deployment(f"web-{number}", replicas)


def _service(number: int) -> dict[str, Any]:
    return {"metadata": {"name": f"web-{number}"}, "spec": {"selector": {"app": f"web-{number}"}, "ports": [{"port": 80}]}}


def _seconds(name: str, seconds: float, target: float) -> Result:
    return Result(name, seconds, "s", "the limit", target, f"≤ {target:g} s", seconds <= target)
