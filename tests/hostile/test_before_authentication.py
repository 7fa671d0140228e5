"""Nothing is decoded, kept or told at length for a caller who is not known."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import tracemalloc
from typing import Any

import grpc
import grpc.aio
import pytest

from knarr.machinery.catalog import registry
from knarr.service.authentication import TokenTable, User, hash_token
from knarr.service.interceptor import ServerInterceptor
from services.apiserver.rest import request as requests
from services.apiserver.rest.application import Application, create_app
from services.apiserver.rest.crowd import Crowd
from services.apiserver.rest.server import RestServer
from tests.apiserver.rest.fake_api import FakeApi
from tests.apiserver.rest.http_client import HttpClient

pytestmark = pytest.mark.hostile

TOKEN = "a-token-for-tests"
TOKENS = TokenTable({hash_token(TOKEN): User("alice", "1", ("system:masters", "system:authenticated"))})


async def ask(application: Application, path: str, *headers: tuple[bytes, bytes], method: str = "GET", query: bytes = b"") -> int:
    """The status of one request."""
    statuses: list[int] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def receive() -> Any:
        raise AssertionError("the body of a request that is refused is read")

    scope = {
        "type": "http", "method": method, "raw_path": path.encode(), "headers": list(headers), "query_string": query, "state": {},
    }  # fmt: skip
    await application(scope, receive, send)
    return statuses[0]


AUTHORIZED = (b"authorization", b"Bearer " + TOKEN.encode())
PATHS = ["/api/v1/namespaces/{}", "/apis/{}", "/openapi/v3/{}", "/{}", "/healthz{}", "/livez/{}", "*{}", "{}", "/api/v1/pods?{}"]


@pytest.mark.parametrize("authorized", [False, True])
@pytest.mark.parametrize("path", PATHS)
async def test_paths_are_not_kept(path: str, authorized: bool) -> None:
    api = FakeApi()
    application = create_app(api, TOKENS, registry())
    headers = [AUTHORIZED] if authorized else [(b"authorization", b"Bearer x")]

    async def wave(first: int) -> None:
        for number in range(first, first + 100):
            status = await ask(application, path.format(f"{number}" + "a" * 60_000), *headers)
            assert 200 <= status < 500
        api.calls.clear()
        api.requests.clear()

    await wave(0)
    tracemalloc.start()
    await wave(100)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1_000_000


@pytest.mark.parametrize("header", [b"accept", b"content-type", b"authorization", b"x"])
async def test_headers_are_not_kept(header: bytes) -> None:
    application = create_app(FakeApi(), TOKENS, registry())

    async def wave(first: int) -> None:
        for number in range(first, first + 100):
            value = (
                b"Bearer %s%s%d" % (TOKEN.encode(), b" " * 60_000, number) if header == b"authorization" else b"%d" % number + b"a" * 60_000
            )
            await ask(application, "/api/v1/pods", AUTHORIZED, (header, value))

    await wave(0)
    tracemalloc.start()
    await wave(100)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1_000_000


@pytest.mark.parametrize("path", ["*", "", "x", "//", "/%", "/%ff", "host:443", "/api", "/api/", "/apis//", "/livezz"])
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "CONNECT", "POST"])
async def test_no_path_is_a_fault_of_the_servers(path: str, method: str, caplog: pytest.LogCaptureFixture) -> None:
    application = create_app(FakeApi(), TOKENS, registry())
    assert await ask(application, path, method=method) == 401
    assert await ask(application, path, AUTHORIZED, method=method) in (200, 404, 405)
    assert not caplog.records


async def test_probes_and_the_version_are_for_everybody() -> None:
    application = create_app(FakeApi(), TOKENS, registry())
    for path in ("/livez", "/healthz/ping", "/readyz/", "/version"):
        for headers in ([], [AUTHORIZED]):
            assert await ask(application, path, *headers) == 200
        assert await ask(application, path, (b"authorization", b"Bearer wrong")) == 401


async def test_parameters_have_a_limit() -> None:
    application = create_app(FakeApi(), TOKENS, registry())
    assert await ask(application, "/api/v1/pods", AUTHORIZED, query=b"a&" * 30_000) == 400
    assert await ask(application, "/api/v1/pods", AUTHORIZED, query=b"limit=" + b"9" * 6000) == 400


class Transport:
    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


def test_strangers_make_way() -> None:
    crowd = Crowd(room=10, strangers=4)
    known = [Transport() for _ in range(6)]
    for transport in known:
        crowd.enter(transport)
        crowd.greet(transport)
    strangers = [Transport() for _ in range(100)]
    for transport in strangers:
        crowd.enter(transport)
    assert len(crowd) == 10
    assert [transport.aborted for transport in strangers[-4:]] == [False] * 4
    assert all(transport.aborted for transport in strangers[:-4])
    assert not any(transport.aborted for transport in known)
    for transport in strangers[-4:]:
        crowd.greet(transport)
    late = Transport()
    crowd.enter(late)
    assert late.aborted
    assert len(crowd) == 10


async def test_a_caller_who_is_known_keeps_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    server = RestServer(create_app(FakeApi(), TOKENS, registry()), None)
    monkeypatch.setattr("services.apiserver.rest.server.Crowd", lambda: Crowd(room=8, strangers=4))
    await server.start()
    try:
        async with HttpClient(server.port, None, TOKEN) as client:
            assert (await client.get("/api/v1/pods")).status == 200
            others = [HttpClient(server.port, None) for _ in range(20)]
            for other in others:
                await other.connect()
            assert (await client.get("/api/v1/pods")).status == 200
            assert await others[0].at_end()
            assert (await others[-1].get("/livez")).status == 200
            for other in others:
                await other.close()
    finally:
        await server.stop()


async def test_a_large_body_of_a_refused_request_ends_the_connection() -> None:
    server = RestServer(create_app(FakeApi(), TOKENS, registry()), None)
    await server.start()
    try:
        async with HttpClient(server.port, None) as client:
            await client.send("POST", "/api/v1/pods", content_length=str(requests.UNREAD_BYTES + 1))
            answer = await client.answer()
            assert (answer.status, answer.headers["connection"]) == (401, "close")
            assert await client.at_end()
        async with HttpClient(server.port, None) as client:
            assert (await client.request("POST", "/api/v1/pods", b"x" * requests.UNREAD_BYTES)).status == 401
            assert (await client.get("/livez")).status == 200
    finally:
        await server.stop()


class Echo(grpc.GenericRpcHandler):
    """One method of each kind; tells what was decoded."""

    def __init__(self) -> None:
        self.decoded: list[bytes] = []

    def service(self, details: Any) -> Any:
        async def unary(request: bytes, context: Any) -> bytes:
            return request

        async def stream(request: bytes, context: Any) -> Any:
            yield request

        if details.method.endswith("Stream"):
            return grpc.unary_stream_rpc_method_handler(stream, self._decode)
        return grpc.unary_unary_rpc_method_handler(unary, self._decode)

    def _decode(self, data: bytes) -> bytes:
        self.decoded.append(data)
        return data


def by_others(record: logging.LogRecord) -> bool:
    """Whether a record is of another thread, or gRPC's word about a wake-up that another loop of the process has taken."""
    awoken = isinstance((record.exc_info or (None, None))[1], BlockingIOError) and "PollerCompletionQueue" in record.getMessage()
    return awoken or record.thread != threading.get_ident()


@pytest.mark.parametrize("method", ["/a.B/Unary", "/a.B/Stream"])
async def test_rpcs_are_refused_by_their_headers_alone(method: str, caplog: pytest.LogCaptureFixture) -> None:
    echo = Echo()
    server = grpc.aio.server(interceptors=[ServerInterceptor(TOKENS)])
    server.add_generic_rpc_handlers((echo,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call: Any = channel.unary_stream(method) if method.endswith("Stream") else channel.unary_unary(method)

            async def answers(token: str) -> list[bytes]:
                made = call(b"x" * 1_000_000, metadata=(("authorization", f"Bearer {token}"),))
                return [answer async for answer in made] if method.endswith("Stream") else [await made]

            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await answers("wrong")
            assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
            assert echo.decoded == []
            assert [len(answer) for answer in await answers(TOKEN)] == [1_000_000]
    finally:
        await server.stop(None)
        await asyncio.sleep(0)
    assert not [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING and not by_others(record)]


async def test_nothing_is_left_of_a_connection_that_is_gone() -> None:
    server = RestServer(create_app(FakeApi(), TOKENS, registry()), None)
    await server.start()

    async def wave() -> None:
        for number in range(50):
            async with HttpClient(server.port, None) as client:
                assert (await client.get(f"/api/v1/namespaces/{number}%F0%9F%98%80{'a' * 60_000}")).status == 401
        await asyncio.sleep(0.05)

    gc.disable()
    try:
        await wave()
        tracemalloc.start()
        await wave()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
        await server.stop()
    assert kept < 3_000_000
