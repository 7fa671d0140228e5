"""Connections within the cluster: silence does not end them, and no proxy of the environment gets them."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import aiohttp
import grpc
import grpc.aio
import pytest
from aiohttp import web
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from knarr.client.channel import (
    CONNECT_SECONDS,
    FOREIGN_PING_SECONDS,
    PERMITTED_PING_SECONDS,
    PING_SECONDS,
    Options,
    client_options,
    open_channel,
    open_plain_channel,
    server_options,
)
from knarr.client.http import open_session
from services.apiserver.storage import connection as etcd
from services.compose.engine import DirectClient
from services.kubelet.runtime.checks import check_network
from services.kubelet.runtime.port import GrpcCheck, HttpCheck

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
# gRPC's own for a server that says nothing: the least that others' servers permit.
DEFAULT_PERMITTED_SECONDS = 300.0
# Small numbers in the same proportion: gRPC pings once in a second at most, and the third ping too many ends the connection.
SCALE = PING_SECONDS
SILENCE_SECONDS = 4.5
# Longer than the pause before the next attempt.
SLOW_SECONDS = 0.4
PROXIES = ("grpc_proxy", "http_proxy", "https_proxy", "all_proxy")


@asynccontextmanager
async def health_server(options: Options) -> AsyncIterator[str]:
    """A server with a stream that says one thing and is silent from then on."""
    server = grpc.aio.server(options=options)
    servicer = health.aio.HealthServicer()
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port(f"{HOST}:0")
    await server.start()
    try:
        yield f"{HOST}:{port}"
    finally:
        await server.stop(None)


async def hear_silence(channel: grpc.aio.Channel) -> None:
    """Ends with TimeoutError when the stream is silent, and otherwise as the stream ends."""
    async with channel:
        stream = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        await stream.read()
        async with asyncio.timeout(SILENCE_SECONDS):
            await stream.read()


def test_no_server_permits_less_than_its_clients_ask() -> None:
    assert PERMITTED_PING_SECONDS <= PING_SECONDS
    assert etcd.PERMITTED_PING_SECONDS <= etcd.PING_SECONDS
    assert DEFAULT_PERMITTED_SECONDS <= FOREIGN_PING_SECONDS
    permitted, kept = (
        dict(server_options())["grpc.http2.min_ping_interval_without_data_ms"],
        dict(client_options())["grpc.keepalive_time_ms"],
    )
    assert int(permitted) <= int(kept)


async def test_a_stream_that_says_nothing_stays_open_and_a_server_with_other_options_would_end_it() -> None:
    ours = server_options(PERMITTED_PING_SECONDS / SCALE)
    async with health_server(ours) as address, health_server([]) as other:
        streams = [hear_silence(open_channel(place, ping_seconds=PING_SECONDS / SCALE)) for place in (address, other)]
        kept, ended = await asyncio.gather(*streams, return_exceptions=True)
    assert isinstance(kept, TimeoutError)
    assert isinstance(ended, grpc.aio.AioRpcError)
    assert ended.code() == grpc.StatusCode.UNAVAILABLE


class SlowWay:
    """Passes connections on to a server, each after a while."""

    def __init__(self, target: str) -> None:
        self._host, _, self._port = target.rpartition(":")
        self.came: list[float] = []

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._pass_on, HOST, 0)
        async with server:
            yield f"{HOST}:{server.sockets[0].getsockname()[1]}"

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came.append(asyncio.get_running_loop().time())
        await asyncio.sleep(SLOW_SECONDS)
        to_reader, to_writer = await asyncio.open_connection(self._host, int(self._port))
        await asyncio.gather(_copy(reader, to_writer), _copy(to_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


async def test_a_handshake_on_a_busy_machine_gets_its_time() -> None:
    """The first call of a component failed once where the other side needed longer than the pause between attempts."""
    async with health_server(server_options()) as address:
        way = SlowWay(address)
        async with way.opened() as slow, open_channel(slow) as channel:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=CONNECT_SECONDS)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert len(way.came) == 1


async def test_who_was_away_is_found_again_soon() -> None:
    """However long an attempt may take, one that fails at once is followed by the next."""
    came: list[float] = []

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(asyncio.get_running_loop().time())
        writer.close()

    server = await asyncio.start_server(hang_up, HOST, 0)
    async with server, open_channel(f"{HOST}:{server.sockets[0].getsockname()[1]}") as channel:
        call = asyncio.create_task(_ask_patiently(channel))
        async with asyncio.timeout(20):
            while len(came) < 4:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    assert came[3] - came[0] < CONNECT_SECONDS


async def _ask_patiently(channel: grpc.aio.Channel) -> None:
    await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)


@pytest.fixture
def dead_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.setenv(name, f"http://{HOST}:9")
        monkeypatch.setenv(name.upper(), f"http://{HOST}:9")
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("dead_proxy")
async def test_grpc_goes_past_a_proxy_of_the_environment() -> None:
    async with health_server(server_options()) as address:
        for channel in (open_channel(address), open_plain_channel(address)):
            async with channel:
                answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
        port = int(address.rpartition(":")[2])
        assert (await check_network(GrpcCheck(HOST, port, ""), 5)).success


@pytest.mark.usefixtures("dead_proxy")
async def test_http_goes_past_a_proxy_of_the_environment() -> None:
    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    application = web.Application()
    application.router.add_get("/", hello)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, HOST, 0)
        await site.start()
        port = runner.addresses[0][1]
        async with open_session(timeout=aiohttp.ClientTimeout(total=5)) as session, session.get(f"http://{HOST}:{port}/") as answer:
            assert await answer.text() == "hello"
        assert (await check_network(HttpCheck(HOST, port, "/", "HTTP", ()), 5)).success
    finally:
        await runner.cleanup()


@pytest.mark.usefixtures("dead_proxy")
def test_the_engines_sdk_goes_past_a_proxy_of_the_environment() -> None:
    client = DirectClient(base_url=f"tcp://{HOST}:1", version="1.41")
    with closing(client):
        settings = client.merge_environment_settings(client.base_url, {}, False, None, None)
    assert settings["proxies"] == {}


# What opens a connection or a server by itself, and the only file that may: there all of them get their options.
OPENERS = {
    "insecure_channel": "knarr/client/channel.py",
    "secure_channel": "knarr/client/channel.py",
    "ClientSession": "knarr/client/http.py",
    "server": "knarr/service/host.py",
    "DirectClient": "services/compose/engine.py",
    "APIClient": "",
    "DockerClient": "",
    "from_env": "",
    "PoolManager": "",
    "urlopen": "",
    "urlretrieve": "",
}
GRPC_ONLY = {"insecure_channel", "secure_channel", "server"}
# HTTP libraries that read the environment; a name of theirs, such as that of an exception, may be taken from their other modules.
READ_THE_ENVIRONMENT = {"requests", "httpx", "urllib3"}


def calls(tree: ast.AST) -> Iterator[tuple[str, str, int]]:
    """(what is called, on what, line) of each call in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                yield node.func.attr, ast.unparse(node.func.value), node.lineno
            elif isinstance(node.func, ast.Name):
                yield node.func.id, "", node.lineno


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """The libraries that a file imports; not where it only names errors that another library raises."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and not (node.module or "").endswith(".exceptions"):
            yield (node.module or "").partition(".")[0], node.lineno


def faults_of(path: str, text: str) -> list[str]:
    """Where a file opens what only one place may open."""
    tree = ast.parse(text)
    found = [f"{path}:{line} {name}" for name, line in imports(tree) if name in READ_THE_ENVIRONMENT]
    for name, of, line in calls(tree):
        if name in OPENERS and path != OPENERS[name] and (name not in GRPC_ONLY or of in ("grpc", "grpc.aio", "aio", "")):
            found.append(f"{path}:{line} {of}.{name}")
    return found


def test_nothing_opens_a_connection_but_the_two_modules_for_it() -> None:
    files = [path for folder in ("knarr", "services") for path in (ROOT / folder).rglob("*.py") if "knarr/api" not in path.as_posix()]
    assert len(files) > 100
    assert [fault for path in files for fault in faults_of(path.relative_to(ROOT).as_posix(), path.read_text())] == []


@pytest.mark.parametrize(
    "text",
    [
        "grpc.aio.insecure_channel('a:1')",
        "grpc.secure_channel('a:1', credentials)",
        "server = grpc.aio.server()",
        "async with aiohttp.ClientSession() as session: pass",
        "from aiohttp import ClientSession\nClientSession()",
        "urllib.request.urlopen('http://a')",
        "import requests",
        "from requests import get",
        "docker.from_env()",
        "docker.APIClient(base_url='tcp://a:1')",
    ],
)
def test_what_opens_one_elsewhere_is_found(text: str) -> None:
    assert len(faults_of("services/anywhere.py", text)) == 1
