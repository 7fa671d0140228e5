"""What the runtime makes of an engine's answers, whole and broken; the engine is a socket that says what the test wants."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from services.kubelet.runtime.docker.bodies import NO_NETWORK, sandbox_body
from services.kubelet.runtime.docker.engine import Engine, EngineConflict, EngineError, EngineNotFound, quoted
from services.kubelet.runtime.docker.facts import EngineFacts
from services.kubelet.runtime.plan import PodRef, SandboxPlan
from services.kubelet.runtime.port import RuntimeFailure, RuntimeUnavailable

HEAD = "HTTP/1.1 {status} Some Words\r\nApi-Version: 1.41\r\n"


def whole(body: str, status: int = 200) -> bytes:
    return f"{HEAD.format(status=status)}Content-Length: {len(body)}\r\n\r\n{body}".encode()


class Place:
    """Where an engine listens; each connection is answered by ``said``, after which it is closed unless ``kept``."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "engine.sock"
        self.said: list[bytes] = []
        self.kept = False
        self.heard: list[bytes] = []
        self.asked, self.ended = asyncio.Event(), asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")), 0)
        self.heard.append(head + await reader.readexactly(length))
        self.asked.set()
        for piece in self.said:
            writer.write(piece)
            await writer.drain()
        if self.kept:
            await reader.read()
        writer.close()
        self.ended.set()


@contextlib.asynccontextmanager
async def engine_that_says(folder: Path, *said: bytes, kept: bool = False, seconds: float = 10.0) -> AsyncIterator[SimpleNamespace]:
    place = Place(folder)
    place.said, place.kept = list(said), kept
    server = await asyncio.start_unix_server(place.serve, place.path)
    engine = Engine(f"unix://{place.path}", seconds)
    async with asyncio.timeout(20), server:
        yield SimpleNamespace(engine=engine, place=place)
        await engine.close()


async def test_a_request_is_asked_whole_and_its_json_is_read(place: Path) -> None:
    async with engine_that_says(place, whole('{"Id": "abc"}')) as one:
        found = await one.engine.request("POST", "containers/create", params={"name": "a b", "n": 1}, body={"Image": "x"})
        assert found == {"Id": "abc"}
        head, _, body = one.place.heard[0].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /v1.41/containers/create?name=a+b&n=1 HTTP/1.1\r\nHost: localhost\r\n")
        assert b"Content-Type: application/json" in head and b"Connection: close" in head and body == b'{"Image": "x"}'


async def test_a_request_without_a_body_says_so_where_one_is_expected(place: Path) -> None:
    async with engine_that_says(place, f"{HEAD.format(status=204)}\r\n".encode(), kept=True) as one:
        assert await one.engine.request("POST", "containers/abc/start") is None
        assert b"Content-Length: 0\r\n" in one.place.heard[0] and b"Content-Type" not in one.place.heard[0]
        # It ends with the answer, not with the connection, which the engine would have kept.
        await one.place.ended.wait()


async def test_a_body_of_ones_own_goes_as_it_is(place: Path) -> None:
    archive = bytes(range(256)) * 8192
    async with engine_that_says(place, whole('{"stream":"a"}\n{"stream":"b"}')) as one:
        headers = {"Content-Type": "application/x-tar"}
        assert await one.engine.request("POST", "images/load?quiet=1", data=archive, headers=headers) == b'{"stream":"a"}\n{"stream":"b"}'
        head, _, body = one.place.heard[0].partition(b"\r\n\r\n")
        assert b"application/x-tar" in head and head.startswith(b"POST /v1.41/images/load?quiet=1 ") and body == archive


async def test_a_stream_comes_piece_by_piece(place: Path) -> None:
    head = f"{HEAD.format(status=200)}Transfer-Encoding: chunked\r\n\r\n".encode()
    async with engine_that_says(place, head, b"3\r\nabc\r\n4\r\nde", b"fg\r\n", kept=True) as one:
        async with one.engine.stream("GET", "events") as pieces:
            found = b""
            while len(found) < 7:
                found += await anext(pieces)
            assert found == b"abcdefg"
        # Who leaves the block ends the connection, whatever would still have come.
        await one.place.ended.wait()


async def test_an_answer_without_a_length_ends_with_its_connection(place: Path) -> None:
    async with engine_that_says(place, f"{HEAD.format(status=200)}\r\n".encode(), b"raw", b" bytes") as one:
        assert await one.engine.request("GET", "logs") == b"raw bytes"


@pytest.mark.parametrize(("status", "kind"), [(404, EngineNotFound), (409, EngineConflict), (500, EngineError)])
async def test_an_error_is_of_the_kind_of_its_status_and_in_the_engines_words(place: Path, status: int, kind: type[EngineError]) -> None:
    async with engine_that_says(place, whole('{"message": "No such container: x"}', status)) as one:
        with pytest.raises(EngineError, match=r"^No such container: x$") as error:
            await one.engine.request("GET", "containers/x/json")
        assert type(error.value) is kind and error.value.status == status
        with pytest.raises(kind):
            async with one.engine.stream("GET", "containers/x/logs"):
                raise AssertionError


async def test_an_error_without_words_is_told_as_one(place: Path) -> None:
    async with engine_that_says(place, whole("", 500)) as one:
        with pytest.raises(EngineError, match="gave no reason"):
            await one.engine.request("GET", "info")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", "closed the connection without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-", "closed the connection without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "broke off"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", "no HTTP"),
    ],
)
async def test_an_answer_that_is_none_is_as_no_engine(place: Path, said: bytes, words: str) -> None:
    async with engine_that_says(place, said) as one:
        with pytest.raises(RuntimeUnavailable, match=f"Cannot connect to the Docker daemon at unix://.*{words}"):
            await one.engine.request("GET", "version")


async def test_an_engine_that_is_away_or_says_nothing(place: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match="No such file"):
        await Engine(f"unix://{place}/nonesuch", 10).request("GET", "version")
    async with engine_that_says(place, kept=True, seconds=0.01) as one:
        with pytest.raises(RuntimeUnavailable, match="TimeoutError"):
            await one.engine.request("GET", "version")
        await one.place.ended.wait()


async def _cancelled(task: asyncio.Task[object], engine: Engine) -> type[BaseException]:
    task.cancel()
    return asyncio.CancelledError


async def _closed(task: asyncio.Task[object], engine: Engine) -> type[BaseException]:
    await engine.close()
    return RuntimeFailure


@pytest.mark.parametrize("end", [_cancelled, _closed])
async def test_what_is_under_way_ends_with_who_asked(place: Path, end: Callable[..., Awaitable[type[BaseException]]]) -> None:
    async with engine_that_says(place, kept=True) as one:
        task = asyncio.create_task(one.engine.request("GET", "wait"))
        await one.place.asked.wait()
        with pytest.raises(await end(task, one.engine)):
            await task
        await one.place.ended.wait()


def test_nothing_of_a_reference_gets_out_of_its_place_in_a_request() -> None:
    assert quoted("a b\r\nHost: x?q#f") == "a%20b%0D%0AHost:%20x%3Fq%23f"


@pytest.mark.parametrize(
    ("version", "hooks"),
    [("20.10.24", True), ("27.5.1", True), ("28.0.0", False), ("29.1", False), ("4.9.3", False), ("Unknown", False), ("dev", False)],
)
def test_which_engines_start_a_process_to_know_a_network(version: str, hooks: bool) -> None:
    """What calls itself an engine and is of no known version is told to do as ever."""
    facts = EngineFacts(Engine("unix:///nowhere", 1.0))
    facts.version = version
    assert facts.hooks_networks == hooks


@pytest.mark.parametrize(("network", "on_host", "unknown"), [(NO_NETWORK, False, True), (NO_NETWORK, True, False), ("knarr", False, False)])
def test_the_engine_is_kept_from_no_network_but_ours(network: str, on_host: bool, unknown: bool) -> None:
    plan = SandboxPlan(PodRef("default", "web", "uid"), 0, "web", host_network=on_host)
    assert ("NetworkDisabled" in sandbox_body(plan, "10.244.0.2", "pause", network, {}, unknown=True)) == unknown
    assert "NetworkDisabled" not in sandbox_body(plan, "10.244.0.2", "pause", network, {})
