"""Clusters of the bench's own: a temporary data directory, ports and ranges that meet no other."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.ports import free_port

BIN = Path(sys.executable).parent
LISTENERS = ("rest", "apiserver", "mutual", "kubelet", "proxy", "controller", "scheduler", "dns", "cloud", "nameserver", "gateway")
PORTS = {name: free_port() for name in LISTENERS}
RANGES = {
    "service-cidr": "10.98.0.0/16",
    "cluster-cidr": "10.245.0.0/16",
    "pod-cidr": "10.245.0.0/24",
    "load-balancer-pool": "10.99.0.0/24",
}
TIMEOUT_SECONDS = 90.0
READY_SECONDS, READY_POLL_SECONDS = 60.0, 0.1


async def run(*command: str, stdin: bytes | None = None) -> str:
    """Runs a command to its end; its output, or RuntimeError with what it said."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE if stdin else None, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate(stdin)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed: {err.decode() or out.decode()}")
    return out.decode()


@dataclass(frozen=True, slots=True)
class Server:
    """An API server, ours or another: its URL, a bearer token that may do everything, and a session that shows it."""

    server: str
    token: str
    session: aiohttp.ClientSession

    async def request(self, method: str, path: str, body: Any = None) -> Any:
        """One REST call; its JSON. Raises RuntimeError with the Status' message."""
        data = json.dumps(body) if body is not None else None
        headers = {"Content-Type": "application/json"}
        async with self.session.request(method, self.server + path, data=data, headers=headers) as answer:
            parsed = await answer.json(content_type=None)
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path}: {parsed.get('message')}")
            return parsed

    async def wait_until_ready(self, log: Callable[[], str]) -> None:
        """Raises RuntimeError with what ``log`` tells where a server that has just started does not come to be ready."""
        deadline = time.monotonic() + READY_SECONDS
        while not await self._is_ready():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the API server did not become ready:\n{log()}")
            await asyncio.sleep(READY_POLL_SECONDS)

    async def _is_ready(self) -> bool:
        try:
            async with self.session.get(f"{self.server}/readyz") as answer:
                return answer.status == 200
        except OSError:
            return False

    async def watch_until(self, path: str, done: Any) -> float:
        """Follows a collection until ``done(event)``; the time.monotonic() of that event."""
        separator = "&" if "?" in path else "?"
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        async with self.session.get(f"{self.server}{path}{separator}watch=true", timeout=timeout) as answer:
            async for line in answer.content:
                if done(json.loads(line)):
                    return time.monotonic()
        raise RuntimeError(f"the watch of {path} ended before what was waited for")


@dataclass(frozen=True, slots=True)
class BenchCluster(Server):
    """A running cluster, and how long it took to be ready."""

    data_dir: Path
    ready_seconds: float

    @property
    def pid(self) -> int:
        return int((self.data_dir / "knarr.pid").read_text().split()[0])

    async def kubectl(self, *arguments: str, stdin: bytes | None = None) -> str:
        return await run(str(BIN / "kubectl"), "--kubeconfig", str(self.data_dir / "kubeconfig"), *arguments, stdin=stdin)


@asynccontextmanager
async def session(ca_file: Path, token: str) -> AsyncIterator[aiohttp.ClientSession]:
    """What shows the token to a server whose certificate is of that authority."""
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(ca_file)), limit=0)
    async with aiohttp.ClientSession(connector=connector, headers={"Authorization": f"Bearer {token}"}, read_bufsize=2**20) as found:
        yield found


@asynccontextmanager
async def cluster(*further: str, runtime: str = "docker", datapath: str = "nftables") -> AsyncIterator[BenchCluster]:
    """Brings a cluster up as a person would, and leaves nothing of it. ``further`` are options of ``knarr up``."""
    with tempfile.TemporaryDirectory(prefix="knarr-bench-") as folder:
        data_dir = Path(folder)
        options = [f"--{name}-port={port}" for name, port in PORTS.items()] + [f"--{name}={value}" for name, value in RANGES.items()]
        knarr = str(BIN / "knarr")
        started = time.monotonic()
        try:
            await run(knarr, "up", "--data-dir", folder, "--runtime", runtime, "--datapath", datapath, *options, *further)
            ready_seconds = time.monotonic() - started
            token = (data_dir / "token").read_text().strip()
            async with session(data_dir / "pki/ca.crt", token) as found:
                yield BenchCluster(f"https://127.0.0.1:{PORTS['rest']}", token, found, data_dir, ready_seconds)
        finally:
            await run(knarr, "down", "--data-dir", folder)


def resident_megabytes(pid: int) -> float:
    """Resident memory of a process and its children, etcd and the engine's own left out."""
    own = _resident_kilobytes(pid)
    return (own + sum(_resident_kilobytes(child) for child, name in _children(pid) if name != "etcd")) / 1024


def etcd_megabytes(pid: int) -> float:
    """Resident memory of the etcd that a process has started."""
    return sum(_resident_kilobytes(child) for child, name in _children(pid) if name == "etcd") / 1024


def _children(pid: int) -> Iterator[tuple[int, str]]:
    """Their ids and names."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield int(child), Path(f"/proc/{child}/comm").read_text().strip()


def _resident_kilobytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))


def require_root() -> None:
    if os.geteuid() != 0:
        raise SystemExit("the measurements need root (containers, network namespaces); run `make bench`")
