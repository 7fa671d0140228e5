"""Kubernetes' own API server, measured beside ours in the same run: in turn, round by round, each alone over an etcd of its own.

Ours runs as a process of its own too: in the process of ``knarr up`` the controllers' work at each write would be counted with it.

Its binary is found as in tests/peer: in the folder that ``KUBERNETES_BIN`` names, else on the path. Where there is none, ours is
measured alone, beside what was recorded on a machine of the kind.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bench.cluster import Server, session
from bench.result import Result
from tests.apiserver.rest.live import TOKEN
from tests.peer.kube_apiserver import KubeApiserver, find
from tests.support.components import Components
from tests.support.etcd import EtcdServer

PEER = "Kubernetes 1.20.2"
SERVICE_RANGE = "10.97.0.0/16"
ROUNDS = 3
# Kubernetes makes the namespace `default` some moments after it says that it is ready.
NAMESPACE_SECONDS, POLL_SECONDS = 20.0, 0.05
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")

# Measures one server; a rate a second, or what else is compared.
Measure = Callable[[Server], Awaitable[float]]


@dataclass(frozen=True, slots=True)
class Side:
    """A server, and the processes that work for it."""

    server: Server
    pid: int
    etcd_pid: int


@dataclass(frozen=True, slots=True)
class Sides:
    """``theirs`` is None where there is no kube-apiserver."""

    ours: Side
    theirs: Side | None

    @property
    def all(self) -> Sequence[Side]:
        return (self.ours,) if self.theirs is None else (self.ours, self.theirs)

    async def compare(self, name: str, measure: Measure, *, recorded: float, at_least: float) -> Result:
        """The round of the median ratio, in which ours should reach ``at_least`` times theirs; ``recorded`` stands for theirs where it
        is not there."""
        rounds = [await self._round(measure, recorded) for _ in range(ROUNDS)]
        median = statistics.median_low([ours / theirs for ours, theirs in rounds])
        ours, theirs = next(found for found in rounds if found[0] / found[1] == median)
        peer = PEER if self.theirs is not None else f"{PEER}, recorded"
        return Result(name, ours, "/s", peer, theirs, f"≥ {at_least:g} × {PEER}", median >= at_least)

    async def _round(self, measure: Measure, recorded: float) -> tuple[float, float]:
        ours = await measured("ours", self.ours, measure)
        theirs = await measured("theirs", self.theirs, measure) if self.theirs is not None else recorded
        return ours, theirs


async def measured(name: str, side: Side, measure: Measure) -> float:
    """Prints beside the rate what an answer cost: on a busy machine that says more."""
    own, etcd, started = cpu_seconds(side.pid), cpu_seconds(side.etcd_pid), time.monotonic()
    rate = await measure(side.server)
    answers = rate * (time.monotonic() - started)
    own, etcd = cpu_seconds(side.pid) - own, cpu_seconds(side.etcd_pid) - etcd
    print(f"  {name}: {rate:,.0f} /s, {1000 * own / answers:.2f} ms of CPU each and {1000 * etcd / answers:.2f} of etcd", flush=True)
    return rate


@asynccontextmanager
async def beside_kubernetes() -> AsyncIterator[Sides]:
    """Ours, and where there is one kube-apiserver."""
    async with apiserver() as ours, _kube_apiserver() as theirs:
        yield Sides(ours, theirs)


class _Alone(Components):
    """Our API server, the only one over its etcd."""

    more: Mapping[str, tuple[str, ...]] = {"apiserver": ("--sole",)}


@asynccontextmanager
async def apiserver() -> AsyncIterator[Side]:
    """Ours alone, over an etcd of its own."""
    with tempfile.TemporaryDirectory(prefix="knarr-bench-") as folder:
        ours = _Alone(Path(folder))
        async with started(ours, "apiserver") as server:
            yield Side(server, ours.processes["apiserver"].pid, ours.etcd.pid)


@asynccontextmanager
async def started(parts: Components, *names: str) -> AsyncIterator[Server]:
    """The API server that is one of these components, once it answers; all are stopped at the end."""
    try:
        await asyncio.to_thread(parts.etcd.start)
        parts.start(*names)
        async with session(parts.data_dir / "ca.crt", "secret-of-admin") as shown:
            server = Server(parts.server, "secret-of-admin", shown)
            await wait_for_namespace(server)
            yield server
    finally:
        await asyncio.to_thread(parts.stop)


@asynccontextmanager
async def _kube_apiserver() -> AsyncIterator[Side | None]:
    if find("kube-apiserver") is None:
        print("  no kube-apiserver is here: name the folder of Kubernetes' binaries in KUBERNETES_BIN to measure beside it", flush=True)
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="knarr-bench-") as folder:
        (Path(folder) / "etcd").mkdir()
        etcd = EtcdServer(Path(folder) / "etcd")
        theirs = KubeApiserver(Path(folder), etcd.endpoint, SERVICE_RANGE)
        try:
            await asyncio.to_thread(etcd.start)
            await asyncio.to_thread(theirs.start)
            async with session(theirs.ca, TOKEN) as shown:
                server = Server(theirs.url, TOKEN, shown)
                await wait_for_namespace(server)
                yield Side(server, theirs.pid, etcd.pid)
        finally:
            await asyncio.to_thread(theirs.stop)
            await asyncio.to_thread(etcd.stop)


async def wait_for_namespace(server: Server) -> None:
    """Until a server that has just started has made the namespace ``default``; raises what it answered last."""
    deadline = time.monotonic() + NAMESPACE_SECONDS
    while True:
        try:
            await server.request("GET", "/api/v1/namespaces/default")
        except (RuntimeError, aiohttp.ClientConnectionError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(POLL_SECONDS)
        else:
            return


def cpu_seconds(pid: int) -> float:
    """What a process has used so far, in its own code and in the kernel's."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS
