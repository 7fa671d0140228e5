"""Memory of a whole cluster: with as many idle pods as a node takes, and after much has come and gone."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from bench.cluster import PORTS, BenchCluster, cluster, resident_megabytes, run
from bench.result import Result
from bench.workloads import deploy

# A node takes 110, the eight that show the cluster's components among them.
PODS = 102
OBJECTS = 20_000
# Requests at once, each on a connection that the client keeps; connections at once.
AT_ONCE, CROWD = 16, 200
WATCHES = 1_000
CONNECTIONS = 10_000
# What each watch would be sent while nobody reads: more than a kernel's buffers take.
UNREAD_OBJECTS, UNREAD_BYTES = 400, 20_000
SETTLE_SECONDS = 40.0
PATH = "/api/v1/namespaces/default/configmaps"

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def memory_pods() -> list[Result]:
    """The whole process with as many pods as there is room for, which only sleep."""
    await run("examples/hello/build.sh")
    async with cluster() as bench:
        empty = resident_megabytes(bench.pid)
        await deploy(bench, PODS)
        await asyncio.sleep(SETTLE_SECONDS)
        full = resident_megabytes(bench.pid)
        await bench.kubectl("delete", "deployment", "twenty", "--cascade=foreground", "--timeout=80s")
    return [Result("memory-pods", full, "MB", "without pods", empty, "≤ 175 MB", full <= 175)]


async def memory_after() -> list[Result]:
    """The whole process before and after 20,000 objects, 1,000 watches that nobody reads, and 10,000 connections."""
    async with cluster(runtime="hollow", datapath="userspace") as bench:
        before = resident_megabytes(bench.pid)
        for first in range(0, OBJECTS, AT_ONCE):
            await asyncio.gather(*(_make_and_delete(bench, f"come-and-gone-{number}") for number in range(first, first + AT_ONCE)))
        async with _connections(bench, range(WATCHES), f"{PATH}?watch=true"):
            for number in range(UNREAD_OBJECTS):
                await _make_and_delete(bench, f"unread-{number}", UNREAD_BYTES)
        for first in range(0, CONNECTIONS, CROWD):
            async with _connections(bench, range(first, first + CROWD), "/version"):
                pass
        await asyncio.sleep(SETTLE_SECONDS)
        after = resident_megabytes(bench.pid)
    return [Result("memory-after", after, "MB", "before", before, "≤ 1.25 × before", after <= 1.25 * before)]


async def _make_and_delete(bench: BenchCluster, name: str, size: int = 900) -> None:
    await bench.request("POST", PATH, {"metadata": {"name": name}, "data": {"k": "v" * size}})
    await bench.request("DELETE", f"{PATH}/{name}")


@asynccontextmanager
async def _connections(bench: BenchCluster, numbers: Iterable[int], path: str) -> AsyncIterator[None]:
    """Connections of their own, each of which asks once and reads the head of the answer."""
    trust = ssl.create_default_context(cafile=str(bench.data_dir / "pki/ca.crt"))
    made: list[Connection] = []
    try:
        for _ in numbers:
            reader, writer = await asyncio.open_connection("127.0.0.1", PORTS["rest"], ssl=trust, limit=1024)
            made.append((reader, writer))
            writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {bench.token}\r\n\r\n".encode())
            await reader.readline()
        yield
    finally:
        for _, writer in made:
            writer.transport.abort()
