"""The cluster of compose.yaml: from nothing to an app that answers through its Service, its memory at rest, a rolling update under load."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
from docker import APIClient

from bench.cluster import run
from bench.result import Result

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parent.parent
IMAGE = "hello:1"
PROJECT, NETWORK, API_PORT = "knarr-bench", "172.28.95", 16743
NODES = ("node-1", "node-2")
NODE_PORT = 30190
REPLICAS = 10
CLIENTS, PAUSE_SECONDS = 4, 0.01
SETTLE_SECONDS = 10.0
RUNS = 3
# What belongs to a node, to no component, or is not Knarr's own.
NOT_CONTROL_PLANE = ("node", "kubelet", "proxy", "gateway", "etcd", "setup")


class ComposeCluster:
    """A project of the bench's own, beside others on the machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def compose(self, *arguments: str) -> str:
        return await run("docker", "compose", "--progress", "quiet", *arguments)

    async def kubectl(self, *arguments: str, stdin: bytes | None = None) -> str:
        return await run(str(BIN / "kubectl"), "--kubeconfig", str(self.folder / "kubeconfig"), *arguments, stdin=stdin)

    async def up(self) -> None:
        await self.compose("up", "--detach", "--wait")

    async def down(self) -> None:
        await self.compose("--profile", "*", "down", "--volumes", "--timeout", "5")

    async def load(self, image: str) -> None:
        await run(str(BIN / "knarr"), "load", "--project", PROJECT, image)

    async def pods(self) -> list[str]:
        return (await self.kubectl("get", "pods", "-l", "app=web", "-o", "name")).split()

    async def memory_megabytes(self) -> dict[str, float]:
        """Each container's by its service, as `docker stats` counts it: without the cache that can be dropped."""
        return await asyncio.to_thread(_memory_megabytes, PROJECT)


def _memory_megabytes(project: str) -> dict[str, float]:
    found: dict[str, float] = {}
    with closing(APIClient()) as engine:
        for container in engine.containers(filters={"label": f"com.docker.compose.project={project}"}):
            memory = engine.stats(container["Id"], stream=False, one_shot=True)["memory_stats"]
            droppable = memory["stats"].get("inactive_file", memory["stats"].get("total_inactive_file", 0))
            found[container["Labels"]["com.docker.compose.service"]] = (memory["usage"] - droppable) / 1e6
    return found


@asynccontextmanager
async def project() -> AsyncIterator[ComposeCluster]:
    """A project with its images built, and nothing of it left at the end."""
    await run(str(ROOT / "scripts/images.sh"))
    await run(str(ROOT / "examples/hello/build.sh"))
    with tempfile.TemporaryDirectory(prefix="knarr-bench-") as folder:
        own = {"KNARR_COMPOSE_NAME": PROJECT, "KNARR_COMPOSE_DIR": folder, "KNARR_NETWORK": NETWORK, "KNARR_API_PORT": str(API_PORT)}
        os.environ.update({**own, "COMPOSE_PROFILES": ""})
        made = ComposeCluster(Path(folder))
        await made.down()
        try:
            yield made
        finally:
            await made.down()


def app() -> bytes:
    """An app that says its pod's name, updated without a gap, and its Service."""
    container = {
        "name": "web",
        "image": IMAGE,
        "command": ["sh", "-c", "hostname >/tmp/index.html; exec httpd -f -p 80 -h /tmp"],
        "readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1},
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "2"]}}},
    }
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 5}}
    strategy = {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 2}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "strategy": strategy, "template": template},
    }
    port = {"port": 80, "nodePort": NODE_PORT}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"type": "NodePort", "selector": {"app": "web"}, "ports": [port]},
    }
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [deployment, service]}).encode()


async def start_app(cluster: ComposeCluster) -> None:
    """Until the Service has answered a pod, asked by its address."""
    await cluster.load(IMAGE)
    await cluster.kubectl("apply", "-f", "-", stdin=app())
    await cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    address = (await cluster.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")).strip()
    names = {name.removeprefix("pod/") for name in await cluster.pods()}
    ask = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 20 {address} 80 | tail -n 1"
    asked = await cluster.kubectl("exec", sorted(names)[0], "--", "sh", "-c", ask)
    if asked.strip() not in names:
        raise RuntimeError(f"the Service answered {asked!r}, which is none of {sorted(names)}")


async def compose_up() -> list[Result]:
    """Three times from nothing; the median. Memory after the last."""
    times = []
    async with project() as cluster:
        for _ in range(RUNS):
            await cluster.down()
            started = time.monotonic()
            await cluster.up()
            up = time.monotonic()
            # Images present, as in the others' tables: this does not count.
            await cluster.load(IMAGE)
            loaded = time.monotonic()
            await start_app(cluster)
            times.append(time.monotonic() - loaded + up - started)
        await asyncio.sleep(SETTLE_SECONDS)
        memory = await cluster.memory_megabytes()
        failed, asked = await rolling_update(cluster)
    seconds = sorted(times)[RUNS // 2]
    control = sum(megabytes for name, megabytes in memory.items() if not name.startswith(NOT_CONTROL_PLANE))
    node = max(memory[f"kubelet-{number}"] + memory[f"proxy-{number}"] for number in range(1, len(NODES) + 1))
    return [
        Result("compose-up", seconds, "s", "k3d's table (kind's: 33 s)", 19.9, "≤ 15 s", seconds <= 15),
        Result("compose-memory", control, "MB", "", 0, "≤ 300 MB", control <= 300),
        Result("node-memory", node, "MB", "", 0, "≤ 120 MB", node <= 120),
        Result("compose-rollout", failed, f"failed of {asked:,}", "", 0, "0 failed", failed == 0 and asked > 0),
    ]


async def rolling_update(cluster: ComposeCluster) -> tuple[int, int]:
    """Requests through a NodePort while all pods are replaced: how many failed, of how many."""
    await cluster.kubectl("scale", "deployment/web", f"--replicas={REPLICAS}")
    await cluster.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    counts = {"asked": 0, "failed": 0}
    stop = asyncio.Event()
    clients = [asyncio.create_task(_ask(f"http://{NETWORK}.11:{NODE_PORT}/", counts, stop)) for _ in range(CLIENTS)]
    try:
        await cluster.kubectl("rollout", "restart", "deployment/web")
        await cluster.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
    finally:
        stop.set()
        await asyncio.gather(*clients)
    return counts["failed"], counts["asked"]


async def _ask(url: str, counts: dict[str, int], stop: asyncio.Event) -> None:
    """Each request on a connection of its own, so that every endpoint is met."""
    connector: Any = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=5)) as session:
        while not stop.is_set():
            counts["asked"] += 1
            try:
                async with session.get(url) as answer:
                    await answer.read()
                    counts["failed"] += answer.status != 200
            except (aiohttp.ClientError, TimeoutError):
                counts["failed"] += 1
            await asyncio.sleep(PAUSE_SECONDS)
