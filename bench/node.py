"""A kubelet as a process of its own with as many pods as a node takes: what it costs when nothing happens, and when all are probed."""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from bench.cluster import Server, run
from bench.pods import PODS_PATH, pod
from bench.result import Result
from services.kubelet.runtime.docker.network import remove_everything
from tests.support.trusted import NODE, TrustedCluster

PODS, AT_ONCE = 110, 16
START_SECONDS, SETTLE_SECONDS, MEASURE_SECONDS = 300.0, 20.0, 60.0
KUBELET = "kubelet-1"
PROBE = {"httpGet": {"path": "/passwd", "port": 8080}, "periodSeconds": 1}
SERVE = ["/bin/httpd", "-f", "-p", "8080", "-h", "/etc"]


class RealNode(TrustedCluster):
    """Its kubelet runs containers."""

    id = f"node-{uuid.uuid4().hex[:8]}"

    def kubelet_options(self, node: str) -> list[str]:
        return [*super().kubelet_options(node), "--runtime=docker", f"--cluster-id={self.id}"]

    @property
    def process(self) -> int:
        return self.processes[KUBELET].pid


async def kubelet_idle() -> list[Result]:
    """110 pods that only sleep."""
    async with _full_node() as process:
        share = await _processor_share(process)
        memory = _memory_megabytes(process)
    return [
        Result("kubelet-idle", 100 * share, "% of a core", "", 0, "≤ 2 %", share <= 0.02),
        Result("kubelet-memory", memory, "MB", "", 0, "≤ 120 MB", memory <= 120),
    ]


async def kubelet_probes() -> list[Result]:
    """110 pods, each asked by HTTP every second."""
    async with _full_node(command=SERVE, readinessProbe=PROBE) as process:
        share = await _processor_share(process)
    return [Result("kubelet-probes", 100 * share, "% of a core", "", 0, "≤ 12 %", share <= 0.12)]


@asynccontextmanager
async def _full_node(**container: Any) -> AsyncIterator[int]:
    """The process of the kubelet of a node whose 110 pods are ready."""
    await run("examples/hello/build.sh")
    with tempfile.TemporaryDirectory(prefix="knarr-bench-") as folder:
        node = RealNode(Path(folder))
        try:
            node.etcd.start()
            node.start("apiserver", "scheduler", "controller", KUBELET)
            async with _server(node) as server:
                await _until(server, f"/api/v1/nodes/{NODE}", lambda found: _is_ready(found), 60.0)
                gate = asyncio.Semaphore(AT_ONCE)
                await asyncio.gather(*(_make(server, number, container, gate) for number in range(PODS)))
                await _until(server, PODS_PATH, lambda found: len(found["items"]) == sum(map(_is_ready, found["items"])), START_SECONDS)
                await asyncio.sleep(SETTLE_SECONDS)
                yield node.process
        finally:
            node.stop()
            await remove_everything(node.id, image=False)


async def _make(server: Server, number: int, container: dict[str, Any], gate: asyncio.Semaphore) -> None:
    body = pod(f"idle-{number}")
    body["spec"]["containers"][0] |= container
    async with gate:
        await server.request("POST", PODS_PATH, body)


@asynccontextmanager
async def _server(node: RealNode) -> AsyncIterator[Server]:
    """The API, for who shows the admin's certificate."""
    folder = node.trust / "admin"
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    context.load_cert_chain(folder / "admin.crt", folder / "admin.key")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), read_bufsize=2**20) as session:
        yield Server(node.server, "", session)


async def _until(server: Server, path: str, condition: Any, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while True:
            try:
                if condition(await server.request("GET", path)):
                    return
            except (RuntimeError, aiohttp.ClientError):
                # Not there yet, or not served yet.
                pass
            await asyncio.sleep(0.5)


def _is_ready(found: dict[str, Any]) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in found.get("status", {}).get("conditions", []))


async def _processor_share(process: int) -> float:
    """Of one core, over a minute."""
    before = _processor_seconds(process)
    await asyncio.sleep(MEASURE_SECONDS)
    return (_processor_seconds(process) - before) / MEASURE_SECONDS


def _processor_seconds(process: int) -> float:
    """Of a process, with those of its children that have ended."""
    words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, words[11:15])) / os.sysconf("SC_CLK_TCK")


def _memory_megabytes(process: int) -> float:
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Rss:")) / 1024
