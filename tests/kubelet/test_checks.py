"""Probes over the network, against servers of the test's own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from knarr.service.certificates import CertificateAuthority
from services.kubelet.runtime.checks import check_network
from services.kubelet.runtime.port import GrpcCheck, HttpCheck, TcpCheck

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
