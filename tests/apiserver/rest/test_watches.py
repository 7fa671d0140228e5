"""Watches: frames in every form, errors in the stream, clients that go away, and clients that do not read."""

from __future__ import annotations

import asyncio
import socket
import ssl
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any, cast

import orjson
import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.catalog import registry
from knarr.machinery.envelope import unwrap, varint
from knarr.machinery.errors import bad_request, expired
from services.apiserver.aside import LARGE_BYTES
from services.apiserver.rest.application import Application, create_app
from services.apiserver.rest.frames import CHUNK_BYTES, frames
from services.apiserver.rest.objects import JsonObjects, ProtobufObjects, Representation
from services.apiserver.rest.protocol import Protocol
from services.apiserver.rest.server import RestServer
from services.apiserver.rest.tables import Tables
from services.apiserver.results import Event
from tests.apiserver.rest.conftest import TOKEN, TOKENS, Certificates
from tests.apiserver.rest.fake_api import FakeApi
from tests.apiserver.rest.http_client import HttpClient
from tests.support.loops import new_uvloop

WATCH = "/api/v1/namespaces/default/configmaps?watch=true"
PROTOBUF = "application/vnd.kubernetes.protobuf"


def added(api: FakeApi, name: str, size: int = 1) -> Event:
    entry = api.put(core.ConfigMap(metadata=meta.ObjectMeta(name=name, namespace="default"), data={"a": "x" * size}))
    return Event("ADDED", entry.revision, entry)


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  what is waited for has no event
            await asyncio.sleep(0.005)


@pytest.fixture
async def watcher(server: RestServer, certificates: Certificates) -> AsyncIterator[HttpClient]:
    async with HttpClient(server.port, certificates.client, TOKEN) as client:
        yield client


async def test_headers_come_before_the_first_event(watcher: HttpClient, api: FakeApi) -> None:
    await watcher.send("GET", WATCH + "&resourceVersion=7&timeoutSeconds=5")
    head = await watcher.head()
    assert (head.status, head.headers["content-type"], head.headers["transfer-encoding"]) == (200, "application/json", "chunked")
    options = api.calls[0][2]
    assert (options.resource_version, options.timeout_seconds) == ("7", 5)


async def test_json_frames(watcher: HttpClient, api: FakeApi) -> None:
    await watcher.send("GET", WATCH)
    await watcher.head()
    event = added(api, "c1")
    api.batches.put_nowait([event, Event("MODIFIED", event.revision, event.entry)])
    lines = [orjson.loads(line) for line in (await watcher.chunk()).splitlines()]
    assert [(line["type"], line["object"]["metadata"]["name"]) for line in lines] == [("ADDED", "c1"), ("MODIFIED", "c1")]
    api.batches.put_nowait([Event("BOOKMARK", 99), Event("BOOKMARK", 100, initial_events_end=True)])
    plain, end = [orjson.loads(line) for line in (await watcher.chunk()).splitlines()]
    assert (plain["type"], plain["object"]["kind"], plain["object"]["metadata"]["resourceVersion"]) == ("BOOKMARK", "ConfigMap", "99")
    assert end["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_protobuf_frames(watcher: HttpClient, api: FakeApi) -> None:
    await watcher.send("GET", WATCH, accept=PROTOBUF)
    assert (await watcher.head()).headers["content-type"] == f"{PROTOBUF};stream=watch"
    api.batches.put_nowait([added(api, "c1", 500), Event("BOOKMARK", 99, initial_events_end=True)])
    chunk = await watcher.chunk()
    found = []
    while chunk:
        length = int.from_bytes(chunk[:4], "big")
        found.append(parse_watch_event(chunk[4 : 4 + length]))
        chunk = chunk[4 + length :]
    (first, wrapped), (second, bookmark) = found
    assert (first, second) == ("ADDED", "BOOKMARK")
    assert core.ConfigMap.FromString(unwrap(wrapped).raw).data["a"] == "x" * 500
    metadata = core.ConfigMap.FromString(unwrap(bookmark).raw).metadata
    assert (metadata.resource_version, metadata.annotations["k8s.io/initial-events-end"]) == ("99", "true")


def parse_watch_event(data: bytes) -> tuple[str, bytes]:
    """By hand: field 1 the type, field 2 a message whose field 1 is the object."""
    type_length = data[1]
    event_type, rest = data[2 : 2 + type_length].decode(), data[2 + type_length :]
    assert data[0] == 0x0A and rest[0] == 0x12
    length, rest = parse_varint(rest[1:])
    assert length == len(rest) and rest[0] == 0x0A
    length, rest = parse_varint(rest[1:])
    assert length == len(rest)
    return event_type, rest


def parse_varint(data: bytes) -> tuple[int, bytes]:
    value, shift, index = 0, 0, 0
    while True:
        value |= (data[index] & 0x7F) << shift
        if data[index] < 0x80:
            return value, data[index + 1 :]
        index, shift = index + 1, shift + 7


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**21, 2**35])
def test_varint(value: int) -> None:
    assert parse_varint(varint(value)) == (value, b"")


@pytest.mark.parametrize(("accept", "is_written"), [(PROTOBUF, False), ("application/json", True)])
async def test_the_json_of_a_large_object_is_made_for_who_wants_it(
    watcher: HttpClient, api: FakeApi, accept: str, is_written: bool
) -> None:
    await watcher.send("GET", WATCH, accept=accept)
    await watcher.head()
    event = added(api, "c1", 2 * LARGE_BYTES)
    api.batches.put_nowait([event])
    assert await watcher.chunk()
    assert event.entry is not None and (event.entry.written is not None) is is_written


async def test_table_frames_name_the_columns_once(watcher: HttpClient, api: FakeApi) -> None:
    await watcher.send("GET", WATCH, accept="application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
    await watcher.head()
    api.batches.put_nowait([added(api, "c1"), added(api, "c2"), Event("BOOKMARK", 99)])
    first, second, bookmark = [orjson.loads(line)["object"] for line in (await watcher.chunk()).splitlines()]
    assert first["kind"] == "Table" and first["columnDefinitions"] and first["rows"][0]["cells"][0] == "c1"
    assert second["columnDefinitions"] is None and second["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    [row] = bookmark["rows"]
    assert (bookmark["metadata"]["resourceVersion"], row["object"]["metadata"]["resourceVersion"]) == ("99", "99")


async def test_partial_metadata_frames(watcher: HttpClient, api: FakeApi) -> None:
    await watcher.send("GET", WATCH, accept="application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io")
    await watcher.head()
    api.batches.put_nowait([added(api, "c1"), Event("BOOKMARK", 99)])
    event, bookmark = [orjson.loads(line)["object"] for line in (await watcher.chunk()).splitlines()]
    assert (event["kind"], event["metadata"]["name"], "data" in event) == ("PartialObjectMetadata", "c1", False)
    assert bookmark["metadata"]["resourceVersion"] == "99"


async def test_what_is_wrong_with_the_request_is_an_http_error(watcher: HttpClient, api: FakeApi) -> None:
    api.watch_refusal = bad_request("field label not supported: spec.nope")
    answer = await watcher.get(WATCH)
    assert (answer.status, answer.json["message"]) == (400, "field label not supported: spec.nope")


async def test_an_expired_revision_is_said_in_the_stream(watcher: HttpClient, api: FakeApi) -> None:
    api.batches.put_nowait(expired("too old resource version: 1 (5)"))
    answer = await watcher.get(WATCH)
    event = orjson.loads(answer.body)
    assert (answer.status, event["type"], event["object"]["code"], event["object"]["reason"]) == (200, "ERROR", 410, "Expired")


async def test_an_error_in_the_stream_ends_it(watcher: HttpClient, api: FakeApi) -> None:
    await watcher.send("GET", WATCH)
    await watcher.head()
    api.batches.put_nowait(expired("too old"))
    assert orjson.loads(await watcher.chunk())["type"] == "ERROR"
    assert await watcher.chunk() == b""
    assert api.open_watches == 0


async def test_yaml_is_no_form_of_a_watch(watcher: HttpClient) -> None:
    assert (await watcher.get(WATCH, accept="application/yaml")).status == 406


async def test_a_client_that_goes_away_ends_its_watch(watcher: HttpClient, api: FakeApi) -> None:
    await watcher.send("GET", WATCH)
    await watcher.head()
    assert api.open_watches == 1
    await watcher.close()
    await until(lambda: api.open_watches == 0)


async def test_stop_ends_watches_with_a_complete_answer(watcher: HttpClient, api: FakeApi, server: RestServer) -> None:
    await watcher.send("GET", WATCH)
    await watcher.head()
    async with asyncio.timeout(2):
        await server.stop()
    assert await watcher.chunk() == b""
    assert await watcher.at_end()
    assert api.open_watches == 0


async def test_a_client_that_never_reads_does_not_grow_memory(watcher: HttpClient, api: FakeApi, application: Application) -> None:
    """Batches are taken only as fast as the connection takes bytes; in the end the stream is given up."""
    application.streams.stall_seconds = 0.3
    for number in range(200):
        api.batches.put_nowait([added(api, f"c{number}", 200_000)])
    await watcher.send("GET", WATCH)
    watcher.stop_reading()
    await until(lambda: api.taken_batches > 0)
    await until(lambda: api.open_watches == 0)
    assert 0 < api.taken_batches < 100


@pytest.mark.parametrize("kind", [JsonObjects, ProtobufObjects])
def test_batches_are_cut_into_pieces(kind: type[Representation]) -> None:
    api = FakeApi()
    batch = [added(api, f"c{number}", size) for number, size in enumerate((1, 6_000, 6_000, 100_000, CHUNK_BYTES, 10, 3))]
    representation = kind(batch[0].entry.version)  # type: ignore[union-attr]
    pieces = list(frames(representation, batch))
    assert [len(piece) for piece in pieces[:-1]] == [CHUNK_BYTES] * (len(pieces) - 1)
    assert 0 < len(pieces[-1]) <= CHUNK_BYTES
    assert b"".join(pieces) == b"".join(b"".join(representation.event(event)) for event in batch)


def test_the_bytes_of_an_object_are_those_of_the_cache() -> None:
    event = added(FakeApi(), "c1", 100_000)
    assert event.entry is not None
    assert any(part is event.entry.json for part in JsonObjects(event.entry.version).event(event))
    assert any(part is event.entry.raw for part in ProtobufObjects(event.entry.version).event(event))


def mute_watcher(port: int, context: ssl.SSLContext) -> socket.socket:
    """A client that reads the head of its watch, and no more: nothing lies in this process but what the server keeps for it."""
    client = context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="127.0.0.1")
    client.sendall(f"GET {WATCH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n".encode())
    assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
    return client


def test_who_does_not_read_holds_little_of_large_objects(certificates: Certificates) -> None:
    """On the loop that Knarr runs on: its TLS takes all that is written, and lets 64 KiB of it lie below."""
    watches = 10

    async def held() -> float:
        api = FakeApi()
        server = RestServer(create_app(api, TOKENS, registry()), certificates.server)
        await server.start()
        clients = [await asyncio.to_thread(mute_watcher, server.port, certificates.client) for _ in range(watches)]
        events = [added(api, f"c{number}", 1_000_000) for number in range(8)]
        assert all(event.entry is not None and event.entry.json for event in events)
        tracemalloc.start()
        try:
            for _ in range(watches):
                api.batches.put_nowait(events)
            connections = [cast(Protocol, connection) for connection in server._state.connections]
            await until(lambda: all(connection.flow.write_paused for connection in connections))
            return tracemalloc.get_traced_memory()[0] / watches
        finally:
            tracemalloc.stop()
            for client in clients:
                client.close()
            await server.stop()

    with asyncio.Runner(loop_factory=new_uvloop) as runner:
        assert runner.run(held()) < 3 * CHUNK_BYTES


@pytest.mark.parametrize("name", ["", "c1"])
async def test_a_watch_by_its_old_path(watcher: HttpClient, api: FakeApi, name: str) -> None:
    path = "/api/v1/watch/namespaces/default/configmaps"
    await watcher.send("GET", f"{path}/{name}" if name else path)
    assert (await watcher.head()).status == 200
    api.batches.put_nowait([added(api, "c1")])
    assert orjson.loads(await watcher.chunk())["object"]["metadata"]["name"] == "c1"
    method, ref, _ = api.calls[0]
    assert (method, ref.namespace, ref.name) == ("watch", "default", name)


async def test_an_old_path_of_a_watch_is_for_nothing_else(watcher: HttpClient) -> None:
    answer = await watcher.request("POST", "/api/v1/watch/namespaces/default/configmaps", {"metadata": {"name": "c"}})
    assert (answer.status, answer.json["reason"]) == (405, "MethodNotAllowed")


def tasks_of_watches() -> int:
    return sum(task.get_name() == "watch" or WATCH in task.get_name() for task in asyncio.all_tasks())


async def test_a_watch_at_rest_has_no_task(watcher: HttpClient, api: FakeApi) -> None:
    await watcher.send("GET", WATCH)
    await watcher.head()
    await until(lambda: api.open_watches == 1 and not tasks_of_watches())
    api.batches.put_nowait([added(api, "c1")])
    assert orjson.loads(await watcher.chunk())["object"]["metadata"]["name"] == "c1"
    assert not tasks_of_watches()
    api.batches.put_nowait([added(api, "c2", 3 * CHUNK_BYTES)])
    await watcher.chunk()
    await until(lambda: not tasks_of_watches())
    assert api.open_watches == 1


async def test_the_connection_of_a_watch_that_is_over_takes_the_next_request(watcher: HttpClient, api: FakeApi) -> None:
    for name in ("c1", "c2"):
        await watcher.send("GET", WATCH)
        await watcher.head()
        api.batches.put_nowait([added(api, name)])
        assert orjson.loads(await watcher.chunk())["object"]["metadata"]["name"] == name
        api.batches.put_nowait(expired("too old"))
        assert orjson.loads(await watcher.chunk())["type"] == "ERROR"
        assert await watcher.chunk() == b""
        assert (await watcher.get("/version")).status == 200
    assert api.open_watches == 0


async def test_what_is_asked_behind_a_watch_is_answered_behind_it(watcher: HttpClient, api: FakeApi) -> None:
    await watcher.send("GET", WATCH)
    await watcher.head()
    await until(lambda: not tasks_of_watches())
    await watcher.send("GET", "/version")
    await watcher.send("GET", "/livez")
    api.batches.put_nowait([added(api, "c1")])
    assert orjson.loads(await watcher.chunk())["object"]["metadata"]["name"] == "c1"
    api.batches.put_nowait(expired("too old"))
    assert orjson.loads(await watcher.chunk())["type"] == "ERROR"
    assert await watcher.chunk() == b""
    assert "gitVersion" in (await watcher.answer()).json
    assert (await watcher.answer()).body == b"ok"


async def test_a_watch_with_a_request_behind_it_from_the_beginning(watcher: HttpClient, api: FakeApi) -> None:
    """Its connection is not given over; it is a task's affair all the time."""
    await watcher.send("GET", WATCH)
    await watcher.send("GET", "/version")
    await watcher.head()
    api.batches.put_nowait([added(api, "c1")])
    assert orjson.loads(await watcher.chunk())["object"]["metadata"]["name"] == "c1"
    api.batches.put_nowait(expired("too old"))
    assert orjson.loads(await watcher.chunk())["type"] == "ERROR"
    assert await watcher.chunk() == b""
    assert "gitVersion" in (await watcher.answer()).json
    await until(lambda: api.open_watches == 0)


async def test_a_watch_whose_client_wants_no_more_ends_its_connection(watcher: HttpClient, api: FakeApi) -> None:
    await watcher.send("GET", WATCH, connection="close")
    await watcher.head()
    api.batches.put_nowait(expired("too old"))
    assert orjson.loads(await watcher.chunk())["type"] == "ERROR"
    assert await watcher.chunk() == b""
    assert await watcher.at_end()


async def test_half_a_request_behind_a_watch_waits_for_its_rest(watcher: HttpClient, api: FakeApi) -> None:
    await watcher.send("GET", WATCH)
    await watcher.head()
    await until(lambda: not tasks_of_watches())
    _, writer = watcher.streams
    writer.write(b"GET /version HTTP/1.1\r\nhost: x\r\n")
    api.batches.put_nowait(expired("too old"))
    assert orjson.loads(await watcher.chunk())["type"] == "ERROR"
    assert await watcher.chunk() == b""
    writer.write(b"\r\n")
    assert "gitVersion" in (await watcher.answer()).json


async def test_a_watch_that_is_woken_while_its_connection_is_full_tells_when_there_is_room(watcher: HttpClient, api: FakeApi) -> None:
    """Each change is small, and written without a task, until there is no room."""
    await watcher.send("GET", WATCH)
    await watcher.head()
    await until(lambda: not tasks_of_watches())
    watcher.stop_reading()
    told = 0
    while not tasks_of_watches():
        told += 1
        assert told < 10_000
        api.batches.put_nowait([added(api, f"c{told}", 12_000)])
        await until(lambda: api.batches.empty() or tasks_of_watches())
    watcher.start_reading()
    read = b""
    while read.count(b"\n") < told:
        read += await watcher.chunk()
    assert [orjson.loads(line)["object"]["metadata"]["name"] for line in read.splitlines()] == [f"c{n + 1}" for n in range(told)]
    await until(lambda: not tasks_of_watches())
    assert api.open_watches == 1


async def test_a_client_that_goes_while_much_is_told_ends_its_watch(watcher: HttpClient, api: FakeApi) -> None:
    await watcher.send("GET", WATCH)
    watcher.stop_reading()
    for number in range(20):
        api.batches.put_nowait([added(api, f"c{number}", 1_000_000)])
    await until(lambda: api.taken_batches > 0)
    await watcher.close()
    await until(lambda: api.open_watches == 0 and not tasks_of_watches())


async def test_a_watch_that_breaks_ends_alone(watcher: HttpClient, api: FakeApi, caplog: pytest.LogCaptureFixture) -> None:
    await watcher.send("GET", WATCH)
    await watcher.head()
    await until(lambda: not tasks_of_watches())
    api.batches.put_nowait([Event("ADDED", 1, cast(Any, "no entry"))])
    with pytest.raises((OSError, EOFError)):
        await watcher.chunk()
    assert api.open_watches == 0
    assert "a watch broke" in caplog.text


@pytest.mark.parametrize(("accept", "times"), [("application/json", 1), ("application/json;as=Table;v=v1;g=meta.k8s.io", 2)])
async def test_what_many_are_told_is_put_together_once(
    accept: str, times: int, server: RestServer, certificates: Certificates, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where they want it in one form; the first frame of a Table names its columns to each."""
    made: list[Event] = []
    for kind in (JsonObjects, Tables):
        monkeypatch.setattr(kind, "event", _noting(made, kind.event))
    async with (
        HttpClient(server.port, certificates.client, TOKEN) as one,
        HttpClient(server.port, certificates.client, TOKEN) as other,
    ):
        for client in (one, other):
            await client.send("GET", WATCH, accept=accept)
            await client.head()
        await until(lambda: api.open_watches == 2)
        batch = [added(api, "c1")]
        for _ in range(2):
            api.batches.put_nowait(batch)
        frames = [await client.chunk() for client in (one, other)]
        assert frames[0] == frames[1] and b"c1" in frames[0]
        assert len(made) == times
        # Not what was told before instead of what is new.
        for _ in range(2):
            api.batches.put_nowait([Event("DELETED", 20, batch[0].entry)])
        assert [orjson.loads(await client.chunk())["type"] for client in (one, other)] == ["DELETED", "DELETED"]


def _noting(made: list[Event], event: Any) -> Any:
    def noting(self: Representation, told: Event) -> Any:
        made.append(told)
        return event(self, told)

    return noting
