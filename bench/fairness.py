"""What a client hears of another one that asks in a loop: its answers' p99, alone and beside it, in the same run."""

from __future__ import annotations

import asyncio
import ssl
import statistics
import time

from bench.api import SECONDS
from bench.audit import Alone, alone
from bench.cluster import Server, run
from bench.reads import CONFIG_MAPS
from bench.result import Result

NOISY_CONNECTIONS = 256
PAUSE_SECONDS = 0.003
# The quiet one asks alone and beside the noise in turn, so that what else the machine does befalls both.
ROUNDS = 3
LIMIT = 2.0


async def fairness() -> list[Result]:
    """GETs of one ConfigMap by both; and, told beside, what the quiet one hears where whoever comes first is first."""
    await _heard("in no order", 1, "--requests-at-once=0")
    own, beside = await _heard("in fair order", ROUNDS)
    return [Result("fairness-p99", beside, "ms", "alone", own, f"≤ {LIMIT:g} × alone", beside <= LIMIT * own)]


async def _heard(words: str, rounds: int, *options: str) -> tuple[float, float]:
    """The quiet client's p99 alone and beside the noise, of the round of the median ratio."""
    async with alone(*options) as (side, server):
        await asks(side, SECONDS)
        found = [await _round(words, side, server) for _ in range(rounds)]
    return sorted(found, key=lambda pair: pair[1] / pair[0])[len(found) // 2]


async def _round(words: str, side: Alone, server: Server) -> tuple[float, float]:
    lonely = await asks(side, SECONDS)
    # The noise is to have the server, not the processor that the quiet client needs to read its answer: with two of them, what is heard
    # would be the kernel's choice among clients.
    command = ["nice", "-n19", "wrk", "-t1", f"-c{NOISY_CONNECTIONS}", f"-d{SECONDS + 2}s", "-H", "Authorization: Bearer secret-of-noisy"]
    noise = asyncio.create_task(run(*command, f"{server.server}{CONFIG_MAPS}/one"))
    await asyncio.sleep(1)
    beside = await asks(side, SECONDS)
    said = await noise
    if "Non-2xx" in said:
        raise RuntimeError(f"the noisy client was not answered:\n{said}")
    rate = next((line.split()[1] for line in said.splitlines() if line.startswith("Requests/sec")), "?")
    for name, found in (("alone", lonely), ("beside the noise", beside)):
        quantiles = statistics.quantiles(found, n=100)
        print(f"  {words}, {name}: p50 {quantiles[49]:.2f} ms, p99 {quantiles[98]:.2f} ms of {len(found)}; the noise: {rate}/s", flush=True)
    own, other = (statistics.quantiles(found, n=100)[98] for found in (lonely, beside))
    return own, other


async def asks(side: Alone, seconds: float) -> list[float]:
    """Milliseconds of each answer to a client that asks, rests and asks again, on one connection."""
    host, _, port = side.server.removeprefix("https://").partition(":")
    context = ssl.create_default_context(cafile=str(side.data_dir / "ca.crt"))
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    asked = f"GET {CONFIG_MAPS}/one HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer secret-of-quiet\r\n\r\n".encode()
    found: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.perf_counter()
        writer.write(asked)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the quiet client was not answered: {head[:80]!r}")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: "))
        await reader.readexactly(int(length.split()[1]))
        found.append(1000 * (time.perf_counter() - started))
        await asyncio.sleep(PAUSE_SECONDS)
    writer.close()
    return found
