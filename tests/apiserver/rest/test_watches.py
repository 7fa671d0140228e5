"""Watches: frames in every form, errors in the stream, clients that go away, and clients that do not read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.envelope import unwrap
from knarr.machinery.errors import bad_request, expired
from services.apiserver.rest.application import Application
from services.apiserver.rest.objects import JsonObjects, varint
from services.apiserver.rest.server import RestServer
from services.apiserver.rest.watches import CHUNK_BYTES, frames
from services.apiserver.results import Event
from tests.apiserver.rest.conftest import TOKEN, Certificates
from tests.apiserver.rest.fake_api import FakeApi
from tests.apiserver.rest.http_client import HttpClient

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


def test_large_batches_are_cut_into_chunks() -> None:
    api = FakeApi()
    batch = [added(api, f"c{number}", 6_000) for number in range(10)]
    chunks = list(frames(JsonObjects(batch[0].entry.version), batch))  # type: ignore[union-attr]
    assert len(chunks) == 4
    assert all(len(chunk) < CHUNK_BYTES + 7_000 for chunk in chunks)
    assert b"".join(chunks).count(b"\n") == 10


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
