"""The cluster's DNS beside dnsmasq: each alone on one core with the same names and the same questions, dnsperf on another.

Of a hundred questions three ask for a name that does not exist, five for an address of the other family: resolvers with a search path do.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import uvloop

from bench.result import Result
from knarr.api.core.v1 import core_pb2 as core
from knarr.service import collector
from services.apiserver.in_memory import ApiInMemory
from services.dns.component import Dns
from services.dns.settings import DnsSettings

SERVICES = 1000
SECONDS = 5
RATE = 5000
OUTSTANDING = 100
CLIENTS = 4
TARGET_RATE, TARGET_MILLISECONDS = 20_000, 2.0
LOOPBACK = "127.0.0.1"
PEER = "dnsmasq"
START_SECONDS = 15.0
SERVER_CORE, CLIENT_CORE = 0, 1
_PER_SECOND = re.compile(r"Queries per second:\s+([\d.]+)")
_LOST = re.compile(r"Queries lost:\s+(\d+)")
_LATENCY = re.compile(r"^> \S+ .* ([\d.]+)$", re.MULTILINE)


def name(number: int) -> str:
    return f"service-{number}.default.svc.cluster.local"


def address(number: int) -> str:
    return f"10.96.{number // 250 + 1}.{number % 250 + 1}"


def questions() -> str:
    """As dnsperf reads them."""
    lines = []
    for number in range(SERVICES):
        kind = "AAAA" if number % 20 == 0 else "A"
        lines.append(f"{f'{name(number)}.default.svc.cluster.local' if number % 33 == 1 else name(number)} {kind}")
    return "\n".join(lines) + "\n"


async def dns_rate() -> list[Result]:
    """Answers per second, as many as can be had, and the time of an answer at a steady rate."""
    own: dict[str, float] = {}
    peer: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        (folder / "questions").write_text(questions())
        for found, server in ((own, _own()), (peer, _dnsmasq(folder))):
            async with server as port:
                await dnsperf(folder, port, "-l", "1")
                found["rate"] = _number(_PER_SECOND, await dnsperf(folder, port, "-l", str(SECONDS)))
                found["p99"] = percentile(await dnsperf(folder, port, "-l", str(SECONDS), "-Q", str(RATE), "-v"))
    target = f"≥ {TARGET_RATE:,}/s"
    rate = Result("dns-rate", own["rate"], "/s", PEER, peer["rate"], target, own["rate"] >= TARGET_RATE)
    late = f"≤ {TARGET_MILLISECONDS:g} ms at {RATE:,}/s"
    return [rate, Result("dns-p99", own["p99"], "ms", PEER, peer["p99"], late, own["p99"] <= TARGET_MILLISECONDS)]


async def dnsperf(folder: Path, port: int, *options: str) -> str:
    """What dnsperf prints; RuntimeError where an answer was lost."""
    command = ["dnsperf", "-s", LOOPBACK, "-p", str(port), "-d", str(folder / "questions"), "-c", str(CLIENTS), "-q", str(OUTSTANDING)]
    process = await asyncio.create_subprocess_exec(
        *_pinned(CLIENT_CORE), *command, *options, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output = (await process.communicate())[0].decode()
    if process.returncode != 0 or _number(_LOST, output):
        raise RuntimeError(f"dnsperf failed or lost answers:\n{output[-2000:]}")
    return output


def percentile(output: str, of_hundred: int = 99) -> float:
    """Of the times that dnsperf printed with each answer, milliseconds."""
    times = sorted(float(found) for found in _LATENCY.findall(output))
    if not times:
        raise RuntimeError(f"dnsperf printed no times:\n{output[-2000:]}")
    return times[len(times) * of_hundred // 100] * 1000


def _number(pattern: re.Pattern[str], output: str) -> float:
    found = pattern.search(output)
    if found is None:
        raise RuntimeError(f"dnsperf printed something else:\n{output[-2000:]}")
    return float(found[1])


def _pinned(core_number: int) -> Sequence[str]:
    """Server and client on cores of their own, where there are two."""
    return ("taskset", "-c", str(core_number)) if (os.cpu_count() or 1) > core_number and shutil.which("taskset") else ()


@contextlib.asynccontextmanager
async def _process(*command: str, port: int) -> AsyncIterator[int]:
    """A server until the end of the block; it answers at its begin."""
    process = await asyncio.create_subprocess_exec(*_pinned(SERVER_CORE), *command, stderr=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(START_SECONDS):
            while not await _answers(port):
                if process.returncode is not None:
                    raise RuntimeError(f"{command[0]} ended with {process.returncode}")
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _answers(port: int) -> bool:
    """Whether the last of the names is there."""
    process = await asyncio.create_subprocess_exec(
        *("dnsperf", "-s", LOOPBACK, "-p", str(port), "-n", "1", "-t", "1"),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    output, _ = await process.communicate(f"{name(SERVICES - 1)} A\n".encode())
    return b"NOERROR 1 " in output


def _own() -> contextlib.AbstractAsyncContextManager[int]:
    port = _free_port()
    return _process(sys.executable, "-m", "bench.dns", str(port), port=port)


def _dnsmasq(folder: Path) -> contextlib.AbstractAsyncContextManager[int]:
    port = _free_port()
    hosts = folder / "hosts"
    hosts.write_text("".join(f"{address(number)} {name(number)}\n" for number in range(SERVICES)))
    options = ["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", f"--addn-hosts={hosts}", f"--port={port}"]
    options += [f"--listen-address={LOOPBACK}", "--bind-interfaces", "--local=/cluster.local/", "--cache-size=10000", "--local-ttl=5"]
    return _process("dnsmasq", *options, "--pid-file=", "--user=root", port=port)


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind((LOOPBACK, 0))
        return int(found.getsockname()[1])


async def serve(port: int) -> None:
    """The component on an API server in memory with all Services, until the process is ended."""
    api = ApiInMemory()
    api.start()
    api.seed(*(_service(number) for number in range(SERVICES)))
    component = Dns(api.client(), DnsSettings(LOOPBACK, port=port, upstreams=("192.0.2.1",)))
    # As `knarr.service.command` does with every component.
    collector.settle()
    await component.run()


def _service(number: int) -> core.Service:
    made = core.Service()
    made.metadata.namespace, made.metadata.name = "default", name(number).partition(".")[0]
    made.spec.cluster_ip = address(number)
    made.spec.ports.add(name="http", port=80, protocol="TCP")
    return made


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))
