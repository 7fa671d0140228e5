"""Lists that leave in pieces are the lists that they would be in one, and cost nothing where nobody reads them."""

from __future__ import annotations

import asyncio
import gzip
import logging
import socket
import tracemalloc
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import orjson
import pytest

from knarr.api.autoscaling.v2 import autoscaling_pb2 as autoscaling
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.envelope import unwrap
from services.apiserver import aside as asides
from services.apiserver.entries import Entries
from services.apiserver.rest import pieces, reads
from services.apiserver.rest.objects import JsonObjects
from services.apiserver.rest.pieces import cut, is_long, send_pieces
from services.apiserver.rest.protocol import Protocol
from services.apiserver.rest.request import CONNECTION, Message, Request
from services.apiserver.rest.response import NO_STORE, REVALIDATED, Pieces, Response
from services.apiserver.rest.server import RestServer
from tests.apiserver.rest.conftest import TOKEN, Certificates
from tests.apiserver.rest.fake_api import FakeApi
from tests.apiserver.rest.http_client import Answer, HttpClient

LIST = "/api/v1/namespaces/default/configmaps"
PROTOBUF = "application/vnd.kubernetes.protobuf"
FORMS = [
    "application/json",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    PROTOBUF,
    f"{PROTOBUF};as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
]


@pytest.fixture
def filled(api: FakeApi) -> FakeApi:
    for number in range(700):
        api.put(core.ConfigMap(metadata=meta.ObjectMeta(name=f"c{number:03}", namespace="default"), data={"a": "x" * (number % 7)}))
    return api


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "WHOLE_OBJECTS", -1)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 500)


async def both(client: HttpClient, monkeypatch: pytest.MonkeyPatch, path: str, accept: str) -> tuple[Answer, Answer]:
    """The same list in one piece and in many."""
    whole = await client.request("GET", path, accept=accept)
    with monkeypatch.context() as patch:
        patch.setattr(reads, "WHOLE_OBJECTS", -1)
        patch.setattr(JsonObjects, "is_written", lambda self, page: False)
        patch.setattr(pieces, "PIECE_BYTES", 500)
        cut = await client.request("GET", path, accept=accept)
    return whole, cut


@pytest.mark.parametrize("accept", FORMS)
async def test_the_pieces_are_the_whole(accept: str, client: HttpClient, filled: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cut = await both(client, monkeypatch, LIST, accept)
    assert (whole.status, cut.status) == (200, 200)
    assert "content-length" in whole.headers and cut.headers["transfer-encoding"] == "chunked"
    assert whole.headers["content-type"] == cut.headers["content-type"]
    assert whole.body == cut.body
    if accept.startswith("application/json"):
        assert len(orjson.loads(cut.body).get("items") or orjson.loads(cut.body)["rows"]) == 700
    elif accept == PROTOBUF:
        assert len(core.ConfigMapList.FromString(unwrap(cut.body).raw).items) == 700


async def test_another_version_and_an_empty_list(client: HttpClient, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api.put(autoscaling.HorizontalPodAutoscaler(metadata=meta.ObjectMeta(name="h", namespace="default")))
    for accept in (FORMS[0], PROTOBUF):
        whole, cut = await both(client, monkeypatch, "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers", accept)
        assert whole.body == cut.body
    whole, cut = await both(client, monkeypatch, LIST, FORMS[0])
    assert orjson.loads(cut.body)["items"] == [] and whole.body == cut.body


async def test_who_asks_for_it_gets_it_compressed(client: HttpClient, filled: FakeApi, small: None) -> None:
    answer = await client.request("GET", LIST, accept_encoding="gzip")
    assert (answer.headers["content-encoding"], answer.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert len(orjson.loads(gzip.decompress(answer.body))["items"]) == 700


async def test_who_does_not_read_holds_one_piece(server: RestServer, certificates: Certificates, api: FakeApi) -> None:
    """And whoever goes away ends it."""
    for number in range(40):
        api.put(core.ConfigMap(metadata=meta.ObjectMeta(name=f"c{number:03}", namespace="default"), data={"a": "x" * 250_000}))
    async with HttpClient(server.port, certificates.client, TOKEN) as reader:
        written = (await reader.request("GET", LIST)).body  # from now on the objects' JSON is there
    async with HttpClient(server.port, certificates.client, TOKEN) as client:
        tracemalloc.start()
        try:
            await client.send("GET", LIST)
            await client.head()
            await asyncio.sleep(0.1)
            assert tracemalloc.get_traced_memory()[0] < len(written) / 4
        finally:
            tracemalloc.stop()


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every list is a long answer."""
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1000)


@pytest.mark.parametrize("accept", FORMS)
async def test_what_is_there_as_a_whole_leaves_in_pieces_too(
    accept: str, client: HttpClient, filled: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = "the-same"
    whole = await client.request("GET", LIST, accept=accept, audit_id=named)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1000)
    for _ in range(2):
        found = await client.request("GET", LIST, accept=accept, audit_id=named)
        assert (found.status, found.body, found.headers) == (200, whole.body, whole.headers)
    assert int(whole.headers["content-length"]) == len(whole.body) > 10_000


async def test_long_answers_that_are_asked_for_ahead_come_whole_and_in_turn(client: HttpClient, filled: FakeApi, long: None) -> None:
    alone = (await client.request("GET", LIST)).body
    reader, writer = client.streams
    head = f"GET %s HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n%s\r\n"
    writer.write("".join([head % (LIST, ""), head % ("/version", ""), head % (LIST, "connection: close\r\n")]).encode())
    first, second, third = [part.partition(b"\r\n\r\n")[2] for part in (await reader.read()).split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert first == third == alone and orjson.loads(second)["major"]


async def test_a_long_answer_to_who_knows_no_chunks(client: HttpClient, filled: FakeApi, long: None) -> None:
    reader, writer = client.streams
    writer.write(f"GET {LIST} HTTP/1.0\r\nauthorization: Bearer {TOKEN}\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert b"connection: close" in head and b"content-length: %d\r\n" % len(body) in head + b"\r\n"
    assert len(orjson.loads(body)["items"]) == 700


async def test_who_does_not_read_is_sent_one_piece_of_what_is_there(
    server: RestServer, certificates: Certificates, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And all of it, once he reads."""
    monkeypatch.setattr(reads, "WHOLE_BYTES", 64 * 1024 * 1024)
    for number in range(40):
        api.put(core.ConfigMap(metadata=meta.ObjectMeta(name=f"c{number:03}", namespace="default"), data={"a": "x" * 250_000}))
    async with HttpClient(server.port, certificates.client, TOKEN) as reader:
        whole = (await reader.request("GET", LIST)).body
    assert server._server is not None
    for listener in server._server.sockets:
        # What the kernel keeps for a connection may be megabytes.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    before = set(server._state.connections)
    async with HttpClient(server.port, certificates.client, TOKEN) as client:
        await client.send("GET", LIST)
        await client.head()
        [connection] = server._state.connections - before
        assert isinstance(connection, Protocol)
        async with asyncio.timeout(10):
            while not connection.is_full():  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert connection.entered is not None
        assert 0 < connection.entered.get_write_buffer_size() < 2 * pieces.PIECE_BYTES
        assert await client.streams[0].readexactly(len(whole)) == whole


async def test_the_next_piece_waits_for_the_client() -> None:
    body, client = b"x" * (3 * pieces.PIECE_BYTES), Client()
    client.reads.clear()
    sending = asyncio.create_task(send_pieces(client.request, cut(Response(body)), client.send))
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(client.received) == 2
    client.reads.set()
    await sending
    assert b"".join(message.get("body", b"") for message in client.received) == body and not client.dropped


@pytest.mark.parametrize("caching", [NO_STORE, REVALIDATED])
async def test_no_piece_is_larger_and_none_is_copied(caching: tuple[bytes, bytes]) -> None:
    """TLS keeps room for the largest that it was given, as long as the connection lasts."""
    body, client = b"x" * (3 * pieces.PIECE_BYTES + 1), Client()
    answer = Response(body, 203, "text/plain", [(b"a", b"b")], caching, before=b"before")
    assert is_long(answer) and not is_long(Response(b"x" * pieces.PIECE_BYTES))
    await send_pieces(client.request, cut(answer), client.send)
    head, *sent = client.received
    assert head == answer.start() and (b"content-length", b"%d" % (len(body) + 6)) in head["headers"]
    assert [message["more_body"] for message in sent] == [True] * (len(sent) - 1) + [False]
    parts = [message["body"] for message in sent]
    assert b"".join(parts) == b"before" + body and max(map(len, parts)) <= pieces.PIECE_BYTES
    assert all(part.obj is body for part in parts if isinstance(part, memoryview)) and not client.dropped


class Client:
    """The other end of ``send_pieces``, which may stop reading or go away."""

    def __init__(self) -> None:
        self.received: list[Message] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.gone = self.dropped = False
        self.request = Request({"raw_path": b"/", "headers": [], "state": {CONNECTION: self}}, self.receive)

    async def receive(self) -> Message:
        raise AssertionError

    async def send(self, message: Message) -> None:
        self.received.append(message)

    def abort(self) -> None:
        self.dropped = True

    def is_gone(self) -> bool:
        return self.gone

    def drained(self) -> Awaitable[Any] | None:
        return None if self.reads.is_set() else self.reads.wait()


class Source:
    """Pieces without end, unless they break."""

    def __init__(self, client: Client) -> None:
        self.client, self.made, self.closed = client, 0, False

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            while True:
                self.made += 1
                self.at(self.made)
                yield b"x"
        finally:
            self.closed = True

    def at(self, number: int) -> None:
        if number == 3:
            self.client.gone = True


async def sent(source: Source, **options: Any) -> None:
    await send_pieces(source.client.request, Pieces(source.pieces(), "application/json"), source.client.send, **options)  # type: ignore[arg-type]


async def test_it_ends_with_its_client() -> None:
    source = Source(Client())
    await sent(source)
    assert (source.made, source.closed, source.client.dropped) == (3, True, True)


async def test_a_client_that_does_not_read_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    client = Client()
    client.reads.clear()
    source = Source(client)
    with caplog.at_level(logging.WARNING):
        await sent(source, stall_seconds=0.01)
    assert (source.made, source.closed, client.dropped) == (1, True, True)
    assert "a client does not read" in caplog.text


async def test_nobody_takes_a_part_for_the_whole() -> None:
    class Broken(Source):
        def at(self, number: int) -> None:
            if number == 2:
                raise RuntimeError("cannot be written")

    source = Broken(Client())
    with pytest.raises(RuntimeError):
        await sent(source)
    assert source.client.dropped and not any(message.get("more_body") is False for message in source.client.received)


async def test_others_have_their_turn_between_pieces() -> None:
    turns: list[int] = []

    async def other(source: Source) -> None:
        while not source.closed:
            turns.append(source.made)
            await asyncio.sleep(0)

    class Long(Source):
        def at(self, number: int) -> None:
            self.client.gone = number == 50

    source = Long(Client())
    await asyncio.gather(sent(source), other(source))
    assert turns[:49] == [*range(1, 50)]


async def test_what_is_not_written_is_made_aside(client: HttpClient, filled: FakeApi, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    async def watched(work: Any, *arguments: Any) -> Any:
        made.append("aside")
        return await asides.in_turn(work, *arguments)

    monkeypatch.setattr(pieces, "in_turn", watched)
    first = await client.request("GET", LIST)
    assert made
    made.clear()
    assert (await client.request("GET", LIST)).body == first.body and not made


async def test_large_objects_make_pieces_of_their_own(filled: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", 100)
    entries = Entries.of([*filled.entries.values()])
    portions = [*pieces._portions(entries)]
    assert [entry for portion in portions for entry in portion] == [*entries]
    assert all(len(portion) == 1 or pieces.weight(portion) <= 100 for portion in portions) and len(portions) < 700
