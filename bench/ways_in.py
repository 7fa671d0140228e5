"""The ways into a running pod: commands, ports and logs."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from bench.cluster import BIN, BenchCluster, cluster, run
from bench.engine_baseline import URL
from bench.pods import PODS_PATH, pod, watched
from bench.result import Result
from services.kubelet.runtime.docker.engine import Engine
from tests.support.ports import free_port

ROUNDS = 15
NOTHING = ("/bin/busybox", "true")
STREAM_BYTES, STREAM_PORT, STREAM_ROUNDS = 300_000_000, 9000, 3
READ_BYTES = 1 << 20
# What a writer of 30 MB/s logs: lines of 1,000 bytes, in pieces of 3 MB.
LINES, PIECES, LINE_BYTES = 3_000, 60, 1_000
RATE = 30.0
WRITER = f"""
busybox awk 'BEGIN {{ for (i = 0; i < {LINES}; i++) printf "%08d %0{LINE_BYTES - 10}d\\n", i, i }}' >/tmp/piece
busybox sleep 2
i=0; set -- $(cat /proc/uptime); begun=$1
while [ $i -lt {PIECES} ]; do
  cat /tmp/piece; i=$((i+1))
  set -- $(cat /proc/uptime)
  busybox sleep $(busybox awk -v now=$1 -v begun=$begun -v i=$i 'BEGIN {{ left = begun + i / 10 - now; print (left > 0 ? left : 0) }}')
done
set -- $(cat /proc/uptime)
busybox awk -v now=$1 -v begun=$begun 'BEGIN {{ print "seconds", now - begun }}'
busybox sleep 1000000
"""


@asynccontextmanager
async def _with_pod(*command: str) -> AsyncIterator[tuple[BenchCluster, dict[str, Any]]]:
    """A cluster with one running pod, called app."""
    await run("examples/hello/build.sh")
    async with cluster() as bench, watched(bench) as seen:
        body = pod("app")
        body["spec"]["containers"][0]["command"] = list(command)
        await bench.request("POST", PODS_PATH, body)
        await seen.until_runs("app")
        yield bench, seen.pods["app"]


async def exec_round_trip() -> list[Result]:
    """A command that does nothing: through the API beside the engine's API, and by kubectl beside the docker command, both without what
    it takes to start the two: kubectl needs four times as long for that."""
    async with _with_pod("/bin/sleep", "1000000") as (bench, found):
        engine_id = found["status"]["containerStatuses"][0]["containerID"].rpartition("://")[2]
        engine = Engine(URL, 60.0)
        try:
            ours, peer = await _beside(lambda: _exec(bench), lambda: _engine_exec(engine, engine_id))
        finally:
            await engine.close()
        whole, peer_whole, start, peer_start = await _in_turn(
            lambda: bench.kubectl("exec", "app", "--", *NOTHING),
            lambda: run("docker", "exec", engine_id, *NOTHING),
            lambda: bench.kubectl("version", "--client"),
            lambda: run("docker", "--version"),
        )
    kubectl, docker = _median_beyond(whole, start), _median_beyond(peer_whole, peer_start)
    told = f"docker exec; with their own starts {1000 * statistics.median(whole):.0f} and {1000 * statistics.median(peer_whole):.0f} ms"
    return [
        Result("exec", 1000 * ours, "ms", "the engine's API", 1000 * peer, "≤ 1.3 × the engine", ours <= 1.3 * peer),
        Result("exec-kubectl", 1000 * kubectl, "ms", told, 1000 * docker, "≤ 1.3 × docker exec", kubectl <= 1.3 * docker),
    ]


async def _beside(ours: Callable[[], Awaitable[Any]], peer: Callable[[], Awaitable[Any]]) -> tuple[float, float]:
    """Medians of seconds, measured in turn."""
    first, second = await _in_turn(ours, peer)
    return statistics.median(first), statistics.median(second)


async def _in_turn(*calls: Callable[[], Awaitable[Any]]) -> list[list[float]]:
    """Seconds of each call, round by round; the first round is not counted."""
    found: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS + 1):
        for call, times in zip(calls, found, strict=True):
            started = time.perf_counter()
            await call()
            times.append(time.perf_counter() - started)
    return [times[1:] for times in found]


def _median_beyond(whole: list[float], part: list[float]) -> float:
    """Of what was left of each round."""
    return statistics.median(one - other for one, other in zip(whole, part, strict=True))


async def _exec(bench: BenchCluster) -> None:
    """As kubectl does it: a WebSocket whose channel 3 ends with a Status."""
    words = "&".join(f"command={word}" for word in NOTHING)
    path = f"{bench.server}{PODS_PATH}/app/exec?container=app&{words}&stdout=true&stderr=true"
    async with bench.session.ws_connect(path, protocols=("v5.channel.k8s.io",)) as channel:
        last = b""
        async for message in channel:
            last = message.data if message.data[:1] == b"\x03" else last
    if b"Success" not in last:
        raise RuntimeError(f"the command failed: {last!r}")


async def _engine_exec(engine: Engine, engine_id: str) -> None:
    """As the docker command does it."""
    body = {"AttachStdout": True, "AttachStderr": True, "Cmd": list(NOTHING)}
    made = await engine.request("POST", f"containers/{engine_id}/exec", body=body)
    reader, writer = await engine.hijack(f"exec/{made['Id']}/start", {"Detach": False, "Tty": False})
    await reader.read()
    writer.close()
    ended = await engine.request("GET", f"exec/{made['Id']}/json")
    if ended["ExitCode"] != 0:
        raise RuntimeError(f"the command failed: {ended}")


async def port_forward() -> list[Result]:
    """One stream out of a pod, by kubectl beside a TLS relay in Python that knows nothing but bytes."""
    words = ("nc", "-ll", "-p", str(STREAM_PORT), "-e", "/bin/busybox", "head", "-c", str(STREAM_BYTES), "/dev/zero")
    forwarded, relayed = [], []
    async with (
        _with_pod("/bin/busybox", *words) as (bench, found),
        _forwarding(bench) as port,
        _relaying(bench, found["status"]["podIP"]) as (relay, trust),
    ):
        for _ in range(STREAM_ROUNDS):
            forwarded.append(await _read_all(port, None))
            relayed.append(await _read_all(relay, trust))
    ours, peer = max(forwarded), max(relayed)
    return [Result("port-forward", ours, "MB/s", "a TLS relay in Python", peer, "≥ 0.5 × the relay", ours >= 0.5 * peer)]


@asynccontextmanager
async def _forwarding(bench: BenchCluster) -> AsyncIterator[int]:
    port = free_port()
    words = ("--kubeconfig", str(bench.data_dir / "kubeconfig"), "port-forward", "pod/app", f"{port}:{STREAM_PORT}")
    async with _helper(str(BIN / "kubectl"), *words):
        yield port


@asynccontextmanager
async def _relaying(bench: BenchCluster, address: str) -> AsyncIterator[tuple[int, ssl.SSLContext]]:
    """With a certificate that only the relay has."""
    port, folder = free_port(), bench.data_dir
    certificate, key = folder / "relay.crt", folder / "relay.key"
    made = ("-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=relay", "-days", "1")
    await run("openssl", "req", *made, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate))
    async with _helper(sys.executable, "-m", "bench.relay", str(certificate), str(key), str(port), address, str(STREAM_PORT)):
        yield port, ssl.create_default_context(cafile=str(certificate))


@asynccontextmanager
async def _helper(*words: str) -> AsyncIterator[None]:
    """A process, from its first line on until the end of the block."""
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            if not await process.stdout.readline():
                raise RuntimeError(f"{words[0]} ended")
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _read_all(port: int, trust: ssl.SSLContext | None) -> float:
    """Reads one connection to its end; MB/s. Raises RuntimeError where bytes are missing."""
    started = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, limit=READ_BYTES)
    size = 0
    while size < STREAM_BYTES and (data := await reader.read(READ_BYTES)):
        size += len(data)
    seconds = time.perf_counter() - started
    writer.transport.abort()
    if size != STREAM_BYTES:
        raise RuntimeError(f"{size} bytes came of {STREAM_BYTES}")
    return size / seconds / 1e6


async def log_follow() -> list[Result]:
    """A container logs 30 MB/s for six seconds; whoever follows it gets every line, in order, and the last one at once."""
    async with _with_pod("/bin/sh", "-c", WRITER) as (bench, _):
        lost, seconds, delay = await _followed(bench)
    size = LINES * PIECES * LINE_BYTES / 1e6
    written, read = size / seconds, size / (seconds + delay)
    # A writer that the engine slows down says nothing of 30 MB/s.
    ok = lost == 0 and read >= 0.95 * RATE
    return [Result("log-follow", read, "MB/s", f"the writer; {lost} lines lost", written, f"≥ {RATE:g} MB/s, none lost", ok)]


async def _followed(bench: BenchCluster) -> tuple[int, float, float]:
    """Lines that are missing; seconds that the writer took, and how much longer the reader did."""
    timeout = aiohttp.ClientTimeout(total=120)
    count, begun = 0, 0.0
    async with bench.session.get(f"{bench.server}{PODS_PATH}/app/log?follow=true", timeout=timeout) as answer:
        async for line in answer.content:
            begun = begun or time.monotonic()
            if line.startswith(b"seconds"):
                seconds = float(line.split()[1])
                return LINES * PIECES - count, seconds, max(0.0, time.monotonic() - begun - seconds)
            count += len(line) == LINE_BYTES
    raise RuntimeError(f"the log ended after {count} lines")
