"""A kubelet as a process of its own with as many pods as a node takes: what it costs while nothing happens, and when all are probed."""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
import time
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
SETTLE_SECONDS, MEASURE_SECONDS = 10.0, 30.0
# Until the probes begin, nothing happens: long enough for all pods to start and for a while of rest.
QUIET_SECONDS, READY_SECONDS = 180, 120.0
KUBELET = "kubelet-1"
CGROUPS = Path("/sys/fs/cgroup")
PROBE = {"httpGet": {"path": "/passwd", "port": 8080}, "periodSeconds": 1, "initialDelaySeconds": QUIET_SECONDS}
SERVE = ["/bin/httpd", "-f", "-p", "8080", "-h", "/etc"]


class RealNode(TrustedCluster):
    """Its kubelet runs containers."""

    id = f"node-{uuid.uuid4().hex[:8]}"

    def kubelet_options(self, node: str) -> list[str]:
        return [*super().kubelet_options(node), "--runtime=docker", f"--cluster-id={self.id}"]

    @property
    def process(self) -> int:
        return self.processes[KUBELET].pid


async def kubelet_full() -> list[Result]:
    """110 pods at rest, and then each asked by HTTP every second."""
    await run("examples/hello/build.sh")
    with tempfile.TemporaryDirectory(prefix="knarr-bench-") as folder:
        node = RealNode(Path(folder))
        try:
            node.etcd.start()
            node.start("apiserver", "scheduler", "controller", KUBELET)
            async with _server(node) as server:
                return await _measured(server, node.process)
        finally:
            node.stop()
            await remove_everything(node.id, image=False)
            _remove_groups(node.id)


def _remove_groups(cluster_id: str) -> None:
    """The pods' control groups: their kubelet ended before them."""
    name = f"*{cluster_id.replace('-', '_')}*"
    for top in [*CGROUPS.glob(name), *CGROUPS.glob(f"*/{name}")]:
        for folder, _, _ in os.walk(top, topdown=False):
            Path(folder).rmdir()


async def _measured(server: Server, process: int) -> list[Result]:
    await _until(server, f"/api/v1/nodes/{NODE}", _is_ready, READY_SECONDS)
    gate, begun = asyncio.Semaphore(AT_ONCE), time.monotonic()
    await asyncio.gather(*(_make(server, number, gate) for number in range(PODS)))
    await _until(server, PODS_PATH, lambda found: all(one["status"]["phase"] == "Running" for one in found["items"]), QUIET_SECONDS)
    await asyncio.sleep(SETTLE_SECONDS)
    if time.monotonic() - begun + MEASURE_SECONDS > QUIET_SECONDS:
        raise RuntimeError("the pods took too long to start: their probes begin before a while of rest is over")
    idle, memory = await _processor_share(process), _memory_megabytes(process)
    await _until(server, PODS_PATH, lambda found: all(map(_is_ready, found["items"])), QUIET_SECONDS + READY_SECONDS)
    await asyncio.sleep(SETTLE_SECONDS)
    probed = await _processor_share(process)
    return [
        Result("kubelet-idle", 100 * idle, "% of a core", "", 0, "≤ 2 %", idle <= 0.02),
        Result("kubelet-memory", memory, "MB", "", 0, "≤ 120 MB", memory <= 120),
        Result("kubelet-probes", 100 * probed, "% of a core", "", 0, "≤ 12 %", probed <= 0.12),
    ]


async def _make(server: Server, number: int, gate: asyncio.Semaphore) -> None:
    body = pod(f"idle-{number}")
    body["spec"]["containers"][0] |= {"command": SERVE, "readinessProbe": PROBE}
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
    """Of one core, over MEASURE_SECONDS."""
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
