"""Head and body of an answer leave in one piece, nothing is held back for good, and no client may dawdle for ever."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import expired
from knarr.service.presence import PROBE_SECONDS
from services.apiserver.rest import crowd, protocol, reads, request
from services.apiserver.rest import server as rest_server
from services.apiserver.rest.application import Application
from services.apiserver.rest.protocol import COPY_BYTES, HEAD_LIMIT_BYTES, UNREAD_BYTES
from services.apiserver.rest.request import Receive, Scope, Send
from services.apiserver.rest.response import Response
from services.apiserver.rest.server import RestServer
from services.apiserver.results import Event
from tests.apiserver.rest.conftest import TOKEN, Certificates
from tests.apiserver.rest.connections import FakeTransport
from tests.apiserver.rest.fake_api import FakeApi


async def answers(body: bytes, *heads: bytes, paused: bool = False) -> FakeTransport:
    """What is written when requests come, one after the other, to an application that answers all of them alike."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        asked, answer = request.Request(scope, receive), Response(body)
        if not asked.answer(answer.head(), answer.body):
            await send(answer.start())
            await send({"type": "http.response.body", "body": answer.body})

    config = Config(application, interface="asgi3", lifespan="off", log_config=None)
    config.load()
    state = ServerState()
    transport, served = FakeTransport(), protocol.Protocol(config, state, {protocol.CROWD: crowd.Crowd()})
    transport.protocol = served
    served.connection_made(transport)
    for head in heads:
        if paused:
            served.pause_writing()
        served.data_received(head)
        asyncio.get_running_loop().call_soon(served.resume_writing)
        while state.tasks:
            await asyncio.wait(set(state.tasks))
    served.connection_lost(None)
    return transport


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: no-cache, private\r\ncontent-length: 4\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


async def test_a_small_answer_leaves_in_one_piece() -> None:
    assert (await answers(b"body", GET, GET)).written == [HEAD + b"body"] * 2


async def test_requests_that_are_sent_ahead_are_answered_in_turn() -> None:
    assert (await answers(b"body", GET * 3)).written == [HEAD + b"body"] * 3


async def test_a_large_body_is_not_copied() -> None:
    body = b"x" * COPY_BYTES
    head, written = (await answers(body, GET)).written
    assert head.endswith(b"\r\n\r\n") and written is body


async def test_a_connection_that_takes_nothing_is_waited_for() -> None:
    found = await answers(b"body", GET, paused=True)
    assert b"".join(found.written).endswith(b"body") and len(found.written) == 2


@pytest.mark.parametrize("head", [b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n"])
async def test_the_last_answer_of_a_connection_says_so(head: bytes) -> None:
    found = await answers(b"body", head)
    assert b"connection: close" in b"".join(found.written) and found.closed


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
ASK = f"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n".encode()


@asynccontextmanager
async def connected(application: Application) -> AsyncIterator[Connection]:
    """A plain connection to a server of its own."""
    server = RestServer(application, None)
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        async with asyncio.timeout(10):
            yield reader, writer
    finally:
        writer.close()
        await server.stop()


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What comes before the server ends the connection."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


async def test_a_head_may_come_in_pieces(application: Application) -> None:
    async with connected(application) as (reader, writer):
        for number in range(20):
            writer.write(b"GET /version HTTP/1.1\r\nhost: x\r\n" if number == 0 else b"x-%d: y\r\n" % number)
            await asyncio.sleep(0)
        writer.write(b"connection: close\r\n\r\n")
        assert (await ended(reader)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("query", ["", "?watch=true"])
async def test_an_answer_without_a_length_has_no_chunks_for_who_knows_none(
    application: Application, api: FakeApi, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    monkeypatch.setattr(reads, "WHOLE_OBJECTS", 0)
    entry = api.put(core.ConfigMap(metadata=meta.ObjectMeta(name="a", namespace="default")))
    api.batches.put_nowait([Event("ADDED", 11, entry)])
    ask = f"GET /api/v1/namespaces/default/configmaps{query} HTTP/1.0\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
    async with connected(application) as (reader, writer):
        writer.write(ask.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"connection: close" in head and b"chunked" not in head and b"content-length" not in head
        if query:
            assert orjson.loads(await reader.readline())["object"]["metadata"]["name"] == "a"
            api.batches.put_nowait(expired("too old"))
            assert orjson.loads(await ended(reader))["type"] == "ERROR"
        else:
            assert [item["metadata"]["name"] for item in orjson.loads(await ended(reader))["items"]] == ["a"]
    assert api.open_watches == 0


@pytest.mark.parametrize(
    ("sent", "place", "bound"),
    [
        (b"", protocol, "HEAD_SECONDS"),
        (b"\r\n\r\n", rest_server, "KEEP_ALIVE_SECONDS"),
        (b"GET /livez HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{", protocol, "BODY_SECONDS"),
        (b"GET / HTTP/1.1\r\n", protocol, "HEAD_SECONDS"),
        (ASK + b"content-length: 9\r\n\r\n{", request, "BODY_SECONDS"),
    ],
)
async def test_who_never_gets_to_the_point_is_dropped(
    application: Application, monkeypatch: pytest.MonkeyPatch, sent: bytes, place: Any, bound: str
) -> None:
    monkeypatch.setattr(place, bound, 0.05)
    async with connected(application) as (reader, writer):
        writer.write(sent)
        answered = b"HTTP/1.1 200 " if b"livez" in sent else b""
        assert (await ended(reader)).startswith(answered)


async def test_a_head_that_drips_is_not_given_more_time(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    async with connected(application) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n")
        end = asyncio.ensure_future(ended(reader))
        while not end.done():
            writer.write(b"x-a: b\r\n")
            await asyncio.sleep(0.02)
        assert end.result() == b""


async def test_a_head_has_a_largest_size(application: Application) -> None:
    async with connected(application) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n" + b"x-a: %s\r\n" % (b"y" * 1000) * (HEAD_LIMIT_BYTES // 1000 + 1))
        assert (await ended(reader)).startswith(b"HTTP/1.1 431 ")


async def test_a_head_has_a_largest_number_of_fields(application: Application) -> None:
    for count, status in ((protocol.MAX_HEADERS - 1, b"200"), (protocol.MAX_HEADERS, b"431"), (5_000, b"431")):
        async with connected(application) as (reader, writer):
            writer.write(b"GET /version HTTP/1.1\r\nhost: x\r\n" + b"a:b\r\n" * (count - 1) + b"connection: close\r\n\r\n")
            assert (await ended(reader)).split(b" ", 2)[1] == status


async def test_requests_that_are_sent_ahead_have_a_largest_number(application: Application) -> None:
    async with connected(application) as (reader, writer):
        writer.write(b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n" * 5000)
        assert (await ended(reader)).count(b"HTTP/1.1 ") <= protocol.MAX_AHEAD + 2
    async with connected(application) as (reader, writer):
        ahead = b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n" * (protocol.MAX_AHEAD - 1)
        writer.write(ahead + b"GET /version HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert (await ended(reader)).count(b"HTTP/1.1 200 ") == protocol.MAX_AHEAD


async def test_heads_that_are_not_whole_take_so_much_together(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd, "HEADS_BYTES", 100_000)
    async with connected(application) as (_, writer):
        others = [await asyncio.open_connection(*writer.get_extra_info("peername")[:2]) for _ in range(3)]
        for (_, other), pieces in zip(others, (6, 4), strict=False):
            other.write(b"GET / HTTP/1.1\r\nx: ")
            for _ in range(pieces):
                other.write(b"y" * 10_000)
                await asyncio.sleep(0.01)
        assert (await others[1][0].read(12)) == b"HTTP/1.1 431"
        others[0][1].close()
        others[2][1].write(b"GET /version HTTP/1.1\r\nhost: x\r\n")
        await asyncio.sleep(0.01)
        others[2][1].write(b"\r\n")
        assert (await others[2][0].read(12)) == b"HTTP/1.1 200"
        for _, other in others[1:]:
            other.close()


@pytest.mark.parametrize(
    ("head", "status"), [(b"POST /api/v1/pods", b"401"), (b"GET /livez", b"200"), (ASK[: ASK.index(b" HTTP")], b"401")]
)
async def test_what_comes_behind_the_last_answer_is_not_read_for_long(
    certificates: Certificates, application: Application, monkeypatch: pytest.MonkeyPatch, head: bytes, status: bytes
) -> None:
    """TLS reads on until the client says that it is over too."""
    monkeypatch.setattr(request, "LINGER_SECONDS", 0.05)
    server = RestServer(application, certificates.server)
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=certificates.client)
    try:
        async with asyncio.timeout(10):
            writer.write(head + b" HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
            assert (await reader.readline()).split(b" ")[1] == status
            with pytest.raises(OSError):
                while True:
                    writer.write(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
                    await writer.drain()
                    await asyncio.sleep(0)
    finally:
        writer.transport.abort()
        await server.stop()


async def test_a_client_that_reads_nothing_for_long_is_kept_as_long_as_its_machine_answers(application: Application) -> None:
    """Not asked by WebSocket pings, which wait behind what it has not read, but by the kernel."""
    server = RestServer(application, None)
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n")
        async with asyncio.timeout(10):
            await reader.readline()
        [connection] = server._state.connections
        assert isinstance(connection, protocol.Protocol)
        assert connection.config.ws_ping_interval is None
        accepted = connection.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == PROBE_SECONDS
    finally:
        writer.close()
        await server.stop()


@asynccontextmanager
async def accepted(application: Application) -> AsyncIterator[tuple[protocol.Protocol, asyncio.StreamWriter]]:
    """The server's side of a connection that was asked something, and the client's."""
    server = RestServer(application, None)
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        async with asyncio.timeout(10):
            writer.write(b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            [connection] = server._state.connections
            assert isinstance(connection, protocol.Protocol)
            yield connection, writer
    finally:
        writer.close()
        await server.stop()


async def test_a_connection_that_broke_leaves_nothing(application: Application) -> None:
    """A timer that went on for two minutes kept all of it."""
    async with accepted(application) as (connection, writer):
        timer = connection.timeout_keep_alive_task
        assert timer is not None and not timer.cancelled()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        while connection in connection.connections:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert timer.cancelled()


async def test_little_waits_for_a_client_that_does_not_read(application: Application) -> None:
    async with accepted(application) as (connection, _):
        assert connection.transport.get_write_buffer_limits()[1] == UNREAD_BYTES
