"""Connections through a datapath, HAProxy, nginx's stream module and straight to the same backends, in one run.

Everything runs in namespaces of its own. `python -m bench.datapaths userspace` shows one run.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from bench.peers import ADDRESSES, BACKEND_PORT, BACKENDS, FLOW_BACKEND, FLOW_PORT, TOOLS, Peers, resident_bytes, running
from bench.sandbox import command, inside, prepare
from services.proxy.component import make_datapath
from services.proxy.datapath.port import Datapath
from services.proxy.routing.table import Change, Endpoint, Route, RouteKey
from services.proxy.settings import ProxySettings

CLUSTER_IP, PORT = "10.96.0.10", 80
CONNECTIONS = 32
ROUNDS = 3
SECONDS = 2
OPEN_CONNECTIONS = 5_000
SETTLE_SECONDS = 0.5
# What the kernel keeps of a tracked connection where it does not say (nf_conntrack's slab object).
CONNTRACK_BYTES = 256
OURS, DIRECT = "ours", "direct"
# Who is asked in every round, and who once for comparison.
RIVALS, OTHERS = (OURS, "haproxy"), ("nginx", DIRECT)

# Opens connections, says so, keeps them until its input ends.
OPENER = """
import resource, socket, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
kept = [socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) for _ in range(int(sys.argv[3]))]
print(len(kept), flush=True)
sys.stdin.read()
"""

# Of each who was measured.
Figures = dict[str, float]


async def run(datapath: str) -> dict[str, Figures]:
    """``requests`` and ``connections`` (1/s), ``latency`` (p99 ms), ``throughput`` (bit/s), ``memory`` (bytes), each by who was measured.

    RuntimeError when it cannot be measured.
    """
    return await inside("bench.datapaths", datapath, tools=("wrk", *TOOLS))


async def _inside(name: str) -> dict[str, Figures]:
    await prepare()
    for address in (*BACKENDS, *ADDRESSES.values()):
        await command("ip", "addr", "add", f"{address}/32", "dev", "lo")
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        peers = await stack.enter_async_context(running(directory, PORT))
        await stack.enter_async_context(_programmed(make_datapath(ProxySettings(datapath=name, instance="bench"))))
        targets = {OURS: CLUSTER_IP, **ADDRESSES}
        for address, port in (*((backend, BACKEND_PORT) for backend in BACKENDS), *((address, PORT) for address in targets.values())):
            await _answers(address, port)
        requests, latency = await _requests(targets)
        return {
            "requests": requests,
            "latency": latency,
            "connections": await _rounds(lambda who: _wrk(*_place(targets, who), "Connection: close"), lambda found: found[0]),
            "throughput": await _rounds(lambda who: _iperf(*_flow_place(targets, who)), float),
            "memory": {who: await _memory(name, peers, targets, who) for who in (*RIVALS, "nginx")},
        }


@contextlib.asynccontextmanager
async def _programmed(datapath: Datapath) -> AsyncIterator[None]:
    endpoints = tuple(Endpoint(address, BACKEND_PORT) for address in BACKENDS)
    flow = (Endpoint(FLOW_BACKEND, FLOW_PORT),)
    routes = (
        Route(RouteKey("bench", "bench", "http"), "tcp", (CLUSTER_IP,), PORT, 0, endpoints),
        Route(RouteKey("bench", "bench", "flow"), "tcp", (CLUSTER_IP,), FLOW_PORT, 0, flow),
    )
    await datapath.start()
    try:
        await datapath.apply(Change(added=routes))
        yield
    finally:
        await datapath.close()


def _place(targets: dict[str, str], who: str) -> tuple[str, int]:
    return (BACKENDS[0], BACKEND_PORT) if who == DIRECT else (targets[who], PORT)


def _flow_place(targets: dict[str, str], who: str) -> tuple[str, int]:
    return (FLOW_BACKEND, FLOW_PORT) if who == DIRECT else (targets[who], FLOW_PORT)


async def _requests(targets: dict[str, str]) -> tuple[Figures, Figures]:
    """Requests a second over kept connections, and their 99th percentile, ms."""
    latencies: dict[str, list[float]] = {}

    def both(found: tuple[float, float], who: str) -> float:
        latencies.setdefault(who, []).append(found[1])
        return found[0]

    measured: dict[str, list[float]] = {}
    for who in (*RIVALS * ROUNDS, *OTHERS):
        measured.setdefault(who, []).append(both(await _wrk(*_place(targets, who)), who))
    return _medians(measured), _medians(latencies)


async def _rounds(measure: Callable[[str], Awaitable[object]], figure: Callable[..., float]) -> Figures:
    measured: dict[str, list[float]] = {}
    for who in (*RIVALS * ROUNDS, *OTHERS):
        measured.setdefault(who, []).append(figure(await measure(who)))
    return _medians(measured)


def _medians(measured: dict[str, list[float]]) -> Figures:
    return {who: statistics.median(values) for who, values in measured.items()}


async def _answers(address: str, port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                reader, writer = await asyncio.open_connection(address, port)
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
                answer = await reader.read()
                writer.close()
            except OSError:
                answer = b""
            if b"200" in answer:
                return
            await asyncio.sleep(0.05)


async def _wrk(address: str, port: int, header: str = "") -> tuple[float, float]:
    """Requests a second and their 99th percentile, ms."""
    extra = ("-H", header) if header else ()
    output = await command("wrk", "-t2", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", *extra, f"http://{address}:{port}/")
    rate, latency = re.search(r"Requests/sec:\s+([\d.]+)", output), re.search(r"99%\s+([\d.]+)(us|ms|s)\b", output)
    if rate is None or latency is None:
        raise RuntimeError(f"wrk said: {output}")
    return float(rate.group(1)), float(latency.group(1)) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[latency.group(2)]


async def _iperf(address: str, port: int) -> float:
    """Bits a second of one connection."""
    output = await command("iperf3", "-c", address, "-p", str(port), "-t", str(SECONDS), "-J")
    return float(json.loads(output)["end"]["sum_received"]["bits_per_second"])


async def _memory(datapath: str, peers: Peers, targets: dict[str, str], who: str) -> float:
    """What OPEN_CONNECTIONS idle connections add to what carries them, bytes; the kernel's entries where it alone does."""
    in_kernel = who == OURS and datapath == "nftables"

    def used() -> float:
        return resident_bytes(os.getpid()) if who == OURS else peers.resident_bytes(who)

    before = used()
    address, port = _place(targets, who)
    pipe = asyncio.subprocess.PIPE
    words = (sys.executable, "-c", OPENER, address, str(port), str(OPEN_CONNECTIONS))
    child = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe)
    try:
        assert child.stdout is not None
        async with asyncio.timeout(60):
            if int(await child.stdout.readline() or 0) != OPEN_CONNECTIONS:
                raise RuntimeError(f"{who} did not take {OPEN_CONNECTIONS} connections")
        await asyncio.sleep(SETTLE_SECONDS)
        return used() - before + (OPEN_CONNECTIONS * _tracked_bytes() if in_kernel else 0)
    finally:
        await child.communicate(b"")


def _tracked_bytes() -> int:
    """What the kernel keeps of one tracked connection."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/slabinfo").read_text().splitlines():
            if line.startswith("nf_conntrack "):
                return int(line.split()[3])
    return CONNTRACK_BYTES


def main() -> None:
    """Measures one datapath and prints what was found as JSON."""
    import uvloop

    name = sys.argv[1]
    print(json.dumps(uvloop.run(_inside(name) if "--inside" in sys.argv else run(name))))


if __name__ == "__main__":
    main()
