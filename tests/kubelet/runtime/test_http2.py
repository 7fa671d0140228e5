"""Probes over HTTP/2, and of health services behind TLS, against servers of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import hpack
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from knarr.service import endings
from knarr.service.certificates import CertificateAuthority
from services.kubelet.runtime import checks, http2
from services.kubelet.runtime.checks import check_network
from services.kubelet.runtime.port import GrpcCheck, HttpCheck, ProbeResult

HOST = "127.0.0.1"


def server_files(folder: Path) -> tuple[Path, Path]:
    """Key and certificate of somebody else, signed by nobody."""
    CertificateAuthority.create("nobody").issue("elsewhere.example").save(folder, "server")
    return folder / "server.key", folder / "server.crt"


def server_context(folder: Path, *protocols: str) -> ssl.SSLContext:
    key, certificate = server_files(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server until the end of the block, at the port; its connections are over by then."""
    tasks: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            await handler(reader, writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async with await asyncio.start_server(serve, HOST, 0, ssl=tls) as server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*tasks)


async def serve_http2(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: list[dict[str, str]]) -> None:
    """Answers one request over HTTP/2: 503 for ``/ill``, a redirect for ``/moved``, nothing for ``/slow``; the body in padded pieces."""
    frame = http2._frame
    assert await reader.readexactly(len(http2.PREFACE)) == http2.PREFACE
    writer.write(frame(http2.SETTINGS, 0, 0, b"") + frame(http2.PING, 0, 0, b"12345678"))
    while True:
        head = await reader.readexactly(9)
        payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
        if head[3] == http2.HEADERS:
            break
    asked.append({str(name): str(value) for name, value in hpack.Decoder().decode(payload)})
    path = asked[-1][":path"]
    if path != "/slow":
        encoder = hpack.Encoder()
        status = {"/ill": "503", "/moved": "302"}.get(path, "200")
        writer.write(frame(http2.HEADERS, http2.END_HEADERS, 1, encoder.encode([(":status", "103")])))
        block = encoder.encode([(":status", status), ("location", "/well"), ("x-long", "y" * 300)])
        writer.write(frame(http2.HEADERS, http2.PADDED, 1, bytes([3]) + block[:9] + b"\0\0\0"))
        writer.write(frame(http2.CONTINUATION, http2.END_HEADERS, 1, block[9:]))
        writer.write(frame(http2.DATA, 0, 1, b"fi") + frame(http2.DATA, http2.PADDED | http2.END_STREAM, 1, bytes([2]) + b"ne\0\0"))
        await writer.drain()
    await reader.read()


@pytest.mark.parametrize("scheme", ["HTTP", "HTTPS"])
async def test_http2_is_spoken_where_it_is_asked_for(scheme: str, tmp_path: Path) -> None:
    asked: list[dict[str, str]] = []
    context = server_context(tmp_path, "h2") if scheme == "HTTPS" else None
    async with serving(functools.partial(serve_http2, asked=asked), context) as port:
        headers = (("Host", "a.example"), ("X-Probe", "yes"), ("Connection", "close"))
        well = await check_network(HttpCheck(HOST, port, "/well?a=b", scheme, headers, http2=True), 5)
        assert well == ProbeResult(True, "fine")
        sent = asked[0]
        assert (sent[":authority"], sent[":path"], sent[":scheme"], sent["x-probe"]) == ("a.example", "/well?a=b", scheme.lower(), "yes")
        assert sent["user-agent"] == checks.USER_AGENT and "connection" not in sent and "host" not in sent
        nothing = (("User-Agent", ""), ("accept", ""), ("Host", ""))
        assert (await check_network(HttpCheck(HOST, port, "/well", scheme, nothing, http2=True), 5)).success
        assert asked[1][":authority"] == f"{HOST}:{port}" and not {"user-agent", "accept"} & asked[1].keys()
        ill = await check_network(HttpCheck(HOST, port, "/ill", scheme, http2=True), 5)
        assert ill == ProbeResult(False, "HTTP probe failed with statuscode: 503")
        moved = await check_network(HttpCheck(HOST, port, "/moved", scheme, http2=True), 5)
        assert (moved, asked[-1][":path"]) == (ProbeResult(True, "fine"), "/well")
        slow = await check_network(HttpCheck(HOST, port, "/slow", scheme, http2=True), 0.2)
        assert not slow.success and "context deadline exceeded" in slow.output


async def serve_http1(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None: ...


async def test_a_server_of_http1_alone_fails_a_probe_of_http2(tmp_path: Path) -> None:
    async with serving(serve_http1) as port:
        plain = await check_network(HttpCheck(HOST, port, http2=True), 5)
        assert not plain.success and "http2: malformed HTTP response" in plain.output
    async with serving(hang_up, server_context(tmp_path)) as port:
        refused = await check_network(HttpCheck(HOST, port, scheme="HTTPS", http2=True), 5)
        assert not refused.success and "the server does not speak HTTP/2" in refused.output
    closed = await check_network(HttpCheck(HOST, port, http2=True), 5)
    assert not closed.success and "connection refused" in closed.output


@pytest.mark.parametrize("sent", [b"", b"\xff" * 40, b"\0\0\1\1\4\0\0\0\1\xff", b"\0\0\1\1\x0c\0\0\0\1\x09", b"\0\0\0\7\0\0\0\0\0"])
async def test_what_is_no_http2_fails_and_raises_nothing(sent: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await reader.read()

    async with serving(serve) as port:
        result = await check_network(HttpCheck(HOST, port, http2=True), 0.3)
        assert not result.success and result.output


async def test_a_health_service_behind_tls_is_asked_whoever_signed_its_certificate(tmp_path: Path) -> None:
    key, certificate = server_files(tmp_path)
    server = grpc.aio.server()
    servicer = health.aio.HealthServicer()
    await servicer.set("ill", health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_secure_port(f"{HOST}:0", grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())]))
    await server.start()
    try:
        answers = [await check_network(GrpcCheck(HOST, port, service, tls=True), 5) for service in ("", "ill", "none")]
        plain = await check_network(GrpcCheck(HOST, port), 2)
    finally:
        await server.stop(None)
    assert answers[:2] == [ProbeResult(True), ProbeResult(False, "service unhealthy (responded with 'NOT_SERVING')")]
    assert answers[2].output.startswith("error: health rpc probe failed: NOT_FOUND")
    assert not plain.success
    gone = await check_network(GrpcCheck(HOST, port, tls=True), 2)
    assert not gone.success and "connection refused" in gone.output


async def test_a_server_that_reads_nothing_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "LINGER_SECONDS", 0.05)
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ended.wait()

    async with serving(serve) as port:
        try:
            async with asyncio.timeout(5), http2.connected(HOST, port, None) as (_, writer):
                writer.write(bytes(64 << 20))
        finally:
            ended.set()
