"""What the Docker engine alone needs for sandboxes and containers: the peer of the pod benchmarks.

The same bodies as the kubelet's Docker runtime sends, sent as fast as the engine takes them, with
no decisions, no state and no status in between.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from services.kubelet.runtime.addresses import PodAddresses
from services.kubelet.runtime.docker.bodies import container_body, container_name, sandbox_body, sandbox_name
from services.kubelet.runtime.docker.engine import Engine
from services.kubelet.runtime.docker.network import ensure_network, remove_everything
from services.kubelet.runtime.docker.pause import ensure_pause_image
from services.kubelet.runtime.docker.settings import DockerSettings
from services.kubelet.runtime.labels import CLUSTER, NODE
from services.kubelet.runtime.pause import PAUSE_IMAGE
from services.kubelet.runtime.plan import ContainerPlan, PodRef, Process, SandboxPlan

URL = "unix:///var/run/docker.sock"
# A range of its own, so that it can run beside a cluster.
CIDR = "10.254.78.0/24"


@dataclass(frozen=True, slots=True)
class BareEngine:
    """Pods of the engine alone, on a network of their own."""

    engine: Engine
    settings: DockerSettings
    addresses: PodAddresses
    image: str
    command: tuple[str, ...]

    async def pod(self, name: str) -> float:
        """Seconds for a sandbox and an app container, created and started."""
        started = time.perf_counter()
        pod = PodRef("default", name, str(uuid.uuid4()))
        await self.container(pod, await self.sandbox(pod), 0)
        return time.perf_counter() - started

    async def sandbox(self, pod: PodRef) -> str:
        """The id of a new one that runs."""
        body = sandbox_body(SandboxPlan(pod, 0, pod.name), self.addresses.take(), PAUSE_IMAGE, self.settings.network, _own(self.settings))
        return await _run(self.engine, sandbox_name(pod, 0), body)

    async def container(self, pod: PodRef, sandbox: str, attempt: int) -> str:
        """The id of a new one that runs."""
        plan = ContainerPlan(pod, sandbox, "app", attempt, self.image, "", process=Process(self.command))
        return await _run(self.engine, container_name(plan), container_body(plan, self.image, self.settings, _own(self.settings)))


@asynccontextmanager
async def bare(*, image: str = PAUSE_IMAGE, command: tuple[str, ...] = ("/pause",), url: str = URL) -> AsyncIterator[BareEngine]:
    """Cleans up after itself."""
    mark = uuid.uuid4().hex[:8]
    settings = DockerSettings(f"bench-{mark}", "bench", CIDR, url, network=f"knarr-bench-{mark}", bridge=f"kb{mark}")
    engine, addresses = Engine(url, 120.0), PodAddresses(CIDR)
    try:
        await ensure_network(engine, settings, addresses.gateway, _own(settings))
        await ensure_pause_image(engine)
        yield BareEngine(engine, settings, addresses, image, command)
    finally:
        await engine.close()
        await remove_everything(settings.cluster_id, url, image=False)


async def bare_engine(n: int, concurrency: int) -> float:
    """Seconds for ``n`` × (sandbox + app container), ``concurrency`` pods at a time."""
    gate = asyncio.Semaphore(concurrency)

    async def one(index: int) -> None:
        async with gate:
            await alone.pod(f"bench-{index}")

    async with bare() as alone:
        started = time.perf_counter()
        await asyncio.gather(*(one(index) for index in range(n)))
        return time.perf_counter() - started


def _own(settings: DockerSettings) -> dict[str, str]:
    return {CLUSTER: settings.cluster_id, NODE: settings.node_name}


async def _run(engine: Engine, name: str, body: dict[str, object]) -> str:
    created = await engine.request("POST", "containers/create", params={"name": name}, body=body)
    await engine.request("POST", f"containers/{created['Id']}/start")
    return str(created["Id"])


def main() -> None:
    """``python -m bench.engine_baseline [pods] [concurrency …]`` prints seconds for each concurrency."""
    pods = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    for concurrency in [int(text) for text in sys.argv[2:]] or [4, 8]:
        print(f"{Path(__file__).stem}: {pods} pods, {concurrency} at a time: {asyncio.run(bare_engine(pods, concurrency)):.2f} s")


if __name__ == "__main__":
    main()
