"""Probes over the network, against servers of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gzip
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import grpc.aio
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from knarr.service.certificates import CertificateAuthority
from services.kubelet.runtime import checks
from services.kubelet.runtime.check_words import dialled
from services.kubelet.runtime.checks import check_network
from services.kubelet.runtime.port import GrpcCheck, HttpCheck, ProbeResult, TcpCheck

HOST = "127.0.0.1"


@pytest.fixture
async def grpc_port() -> AsyncIterator[int]:
    server = grpc.aio.server()
    servicer = health.aio.HealthServicer()
    await servicer.set("ill", health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port(f"{HOST}:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


@pytest.fixture
async def http_port() -> AsyncIterator[int]:
    """Answers each connection once: 200 with the request's head, 503 for ``/ill``, nothing for ``/slow``."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET /slow"):
                await reader.read()
            else:
                status = b"503 Ill" if head.startswith(b"GET /ill") else b"200 OK"
                writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\n\r\n" % len(head) + head)
                await writer.drain()
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
async def redirecting_port(http_port: int) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Answers 302 to where the path's `to` says; and the heads it was sent."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        to = heads[-1].split(b" ")[1].partition(b"to=")[2]
        writer.write(b"HTTP/1.1 302 Found\r\nContent-Length: 4\r\n" + (b"Location: " + to + b"\r\n" if to else b"") + b"\r\ngone")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, HOST, 0) as server:
        yield server.sockets[0].getsockname()[1], heads


@pytest.mark.parametrize("to", ["http://127.0.0.9:1/", "//127.0.0.9:1/x", "https://elsewhere.example/", ""])
async def test_a_redirect_to_another_host_is_not_followed_and_is_a_success(redirecting_port: tuple[int, list[bytes]], to: str) -> None:
    result = await check_network(HttpCheck(HOST, redirecting_port[0], f"/?to={to}"), 5)
    assert result == ProbeResult(True, "Probe terminated redirects, Response body: gone", warning=True)


async def test_a_redirect_on_the_host_is_followed_with_the_probes_headers(
    http_port: int, redirecting_port: tuple[int, list[bytes]]
) -> None:
    for path, success in (("well", True), ("ill", False)):
        check = HttpCheck(HOST, redirecting_port[0], f"/?to=http://{HOST}:{http_port}/{path}", headers=(("X-Probe", "yes"),))
        result = await check_network(check, 5)
        assert (result.success, result.warning) == (success, False)
        assert not success or "X-Probe: yes" in result.output


async def test_redirects_that_never_end_fail(redirecting_port: tuple[int, list[bytes]]) -> None:
    port, heads = redirecting_port
    result = await check_network(HttpCheck(HOST, port, "/?to=/?to=/?to=/?to=/?to=/?to=/?to=/?to=/?to=/?to=/?to=/?to=/?to=/"), 5)
    assert not result.success and "stopped after 10 redirects" in result.output and len(heads) == 10


@pytest.fixture
async def answering(request: pytest.FixtureRequest) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Sends the bytes of the parameter, and goes on with nothing; and the heads it was sent."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(request.param)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, HOST, 0) as server:
        yield server.sockets[0].getsockname()[1], heads


SLOW = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegun"
PACKED = gzip.compress(bytes(9_000_000))
BOMB = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(PACKED) + PACKED


@pytest.mark.parametrize("answering", [SLOW], indirect=True)
async def test_an_answer_that_does_not_come_to_its_end_in_time_is_none(answering: tuple[int, list[bytes]]) -> None:
    result = await check_network(HttpCheck(HOST, answering[0]), 0.2)
    assert not result.success and "deadline exceeded" in result.output


@pytest.mark.parametrize("answering", [BOMB], indirect=True)
async def test_an_answer_is_taken_as_it_is(answering: tuple[int, list[bytes]]) -> None:
    port, heads = answering
    result = await check_network(HttpCheck(HOST, port), 5)
    assert result.success and result.output == PACKED[: checks.MAX_BODY_BYTES].decode(errors="replace")
    assert b"accept-encoding" not in heads[0].lower()


@pytest.mark.parametrize("answering", [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"], indirect=True)
async def test_an_empty_header_leaves_out_what_a_probe_says_of_itself(answering: tuple[int, list[bytes]]) -> None:
    port, heads = answering
    nothing = (("user-agent", ""), ("Accept", ""), ("Host", ""), ("X-Empty", ""))
    assert (await check_network(HttpCheck(HOST, port, headers=nothing), 5)).success
    head = heads[0].lower()
    assert b"user-agent" not in head and b"accept" not in head and b"x-empty:" in head
    assert f"host: {HOST}:{port}\r\n".encode() in head


@pytest.mark.parametrize("answering", [b"HTTP/1.1 302 Found\r\nLocation:\r\nContent-Length: 4\r\n\r\ngone"], indirect=True)
async def test_a_redirect_to_nowhere_is_a_success(answering: tuple[int, list[bytes]]) -> None:
    assert (await check_network(HttpCheck(HOST, answering[0]), 5)).warning


@pytest.mark.parametrize(
    "check",
    [
        HttpCheck(HOST, 1, headers=(("X-Probe", "two\r\nlines"),)),
        HttpCheck(HOST, 1, headers=(("X Probe", "\0"),)),
        HttpCheck("a" * 64 + ".example", 1),
        HttpCheck("two words", 1),
        HttpCheck("[", 1),
        HttpCheck(HOST, 70000),
        TcpCheck("a" * 64 + ".example", 1),
        TcpCheck("with\0zero", 1),
        TcpCheck(HOST, 70000),
        GrpcCheck("two words", 1),
    ],
    ids=str,
)
async def test_what_cannot_be_sent_is_a_failure_and_not_the_end_of_probing(check: HttpCheck | TcpCheck | GrpcCheck) -> None:
    result = await check_network(check, 2)
    assert not result.success and result.output


@pytest.mark.parametrize(
    ("service", "success", "words"),
    [("", True, ""), ("ill", False, "service unhealthy (responded with 'NOT_SERVING')"), ("none", False, "NOT_FOUND")],
)
async def test_grpc(grpc_port: int, service: str, success: bool, words: str) -> None:
    result = await check_network(GrpcCheck(HOST, grpc_port, service), 5)
    assert result.success is success and words in result.output


async def test_grpc_where_nobody_listens(unused_tcp_port: int) -> None:
    result = await check_network(GrpcCheck(HOST, unused_tcp_port), 2)
    assert not result.success and "health rpc probe failed" in result.output


@pytest.mark.parametrize(
    ("path", "seconds", "success", "words"),
    [
        ("/well", 5, True, "user-agent: kube-probe/"),
        ("/ill", 5, False, "HTTP probe failed with statuscode: 503"),
        ("/slow", 0.2, False, "context deadline exceeded"),
    ],
)
async def test_http(http_port: int, path: str, seconds: float, success: bool, words: str) -> None:
    result = await check_network(HttpCheck(HOST, http_port, path, headers=(("X-Probe", "yes"),)), seconds)
    assert result.success is success and words in result.output.replace("User-Agent", "user-agent")
    assert not success or "X-Probe: yes" in result.output


async def test_what_fails_without_words_is_named_by_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> ProbeResult:
        raise aiohttp.ClientPayloadError

    monkeypatch.setattr(checks, "_follow", fail)
    found = await check_network(HttpCheck("127.0.0.1", 80, "/"), 1)
    assert found == ProbeResult(False, 'Get "http://127.0.0.1:80/": ClientPayloadError')


async def test_an_address_of_ipv6_is_asked_too() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "::1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert (await check_network(HttpCheck("::1", port), 5)).success
        assert (await check_network(TcpCheck("::1", port), 5)).success
    refused = await check_network(HttpCheck("::1", port), 5)
    assert refused.output == f'Get "http://[::1]:{port}/": dial tcp [::1]:{port}: connect: connection refused'


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "dial tcp: lookup ::1: no such host"),
        (OSError(errno.ECONNREFUSED, ""), "dial tcp [::1]:9: connect: connection refused"),
        (OSError("without a number"), "dial tcp [::1]:9: connect: without a number"),
    ],
)
def test_why_there_is_no_connection(error: OSError, words: str) -> None:
    assert dialled("::1", 9, error).endswith(words)


@pytest.mark.parametrize("http2", [False, True])
async def test_who_speaks_no_tls_is_told_as_such(http2: bool) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, HOST, 0) as server:
        found = await check_network(HttpCheck(HOST, server.sockets[0].getsockname()[1], scheme="HTTPS", http2=http2), 5)
    assert found.output.endswith("tls: first record does not look like a TLS handshake")


async def test_who_hangs_up_without_a_word() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, HOST, 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await check_network(HttpCheck(HOST, port), 5) == ProbeResult(False, f'Get "http://{HOST}:{port}/": EOF')


async def test_tcp(http_port: int, unused_tcp_port: int) -> None:
    assert (await check_network(TcpCheck(HOST, http_port), 5)).success
    refused = await check_network(TcpCheck(HOST, unused_tcp_port), 5)
    assert (refused.success, refused.output) == (False, f"dial tcp {HOST}:{unused_tcp_port}: connect: connection refused")


async def test_https_judges_no_certificate(tmp_path: Path) -> None:
    """Neither who signed it nor for whom, as Kubernetes."""
    CertificateAuthority.create("nobody").issue("elsewhere.example").save(tmp_path, "server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwell")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, HOST, 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        for _ in range(2):
            result = await check_network(HttpCheck(HOST, port, scheme="HTTPS"), 5)
            assert (result.success, result.output) == (True, "well")


async def test_a_hook_was_called_whatever_is_answered(http_port: int) -> None:
    ill = await check_network(HttpCheck(HOST, http_port, "/ill", hook=True), 5)
    assert ill.success and f"User-Agent: {checks.HOOK_AGENT}" in ill.output
    gone = await check_network(HttpCheck(HOST, 1, "/", hook=True), 5)
    assert not gone.success
