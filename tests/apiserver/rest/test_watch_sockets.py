"""Watches over WebSockets: a message for each event."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import bad_request, expired
from services.apiserver.rest.server import RestServer
from services.apiserver.rest.watch_sockets import frames, lines
from services.apiserver.results import Event
from tests.apiserver.rest.conftest import TOKEN, Certificates
from tests.apiserver.rest.fake_api import FakeApi

WATCH = "/api/v1/namespaces/default/configmaps?watch=true"
PROTOBUF = "application/vnd.kubernetes.protobuf"


@pytest.fixture
def dial(server: RestServer, certificates: Certificates) -> Any:
    def dial(path: str, **headers: str) -> connect:
        found = {"Authorization": f"Bearer {TOKEN}", **headers}
        url = f"wss://127.0.0.1:{server.port}{path}"
        return connect(url, ssl=certificates.client, additional_headers=found, open_timeout=5, close_timeout=5)

    return dial


def added(api: FakeApi, name: str, size: int = 1) -> Event:
    entry = api.put(core.ConfigMap(metadata=meta.ObjectMeta(name=name, namespace="default"), data={"a": "x" * size}))
    return Event("ADDED", entry.revision, entry)


async def nobody_watches(api: FakeApi) -> None:
    async with asyncio.timeout(5):
        while api.open_watches:  # noqa: ASYNC110  what is waited for has no event
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("path", [WATCH, "/api/v1/watch/namespaces/default/configmaps?"])
async def test_a_text_for_each_event(dial: Any, api: FakeApi, path: str) -> None:
    async with dial(path + "&resourceVersion=7") as socket, asyncio.timeout(5):
        api.batches.put_nowait([added(api, "small"), added(api, "large", 100_000), Event("BOOKMARK", 99)])
        heard = [json.loads(await socket.recv()) for _ in range(3)]
        assert [(event["type"], event["object"]["metadata"].get("name")) for event in heard] == [
            ("ADDED", "small"), ("ADDED", "large"), ("BOOKMARK", None),
        ]  # fmt: skip
        assert api.requests[0].options.resource_version == "7"
        api.batches.put_nowait([added(api, "later")])
        assert isinstance(await socket.recv(), str)
    await nobody_watches(api)


async def test_bytes_for_each_event_in_protobuf(dial: Any, api: FakeApi) -> None:
    async with dial(WATCH, Accept=PROTOBUF) as socket, asyncio.timeout(5):
        api.batches.put_nowait([added(api, "small"), added(api, "large", 100_000)])
        for _ in range(2):
            event = await socket.recv()
            assert isinstance(event, bytes) and event.startswith(b"\n\x05ADDED")


async def test_an_error_in_the_stream_is_its_last_event(dial: Any, api: FakeApi) -> None:
    async with dial(WATCH) as socket, asyncio.timeout(5):
        api.batches.put_nowait(expired("too old resource version: 1 (2)"))
        event = json.loads(await socket.recv())
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
        await socket.wait_closed()
    assert socket.close_code == 1000


async def test_stop_ends_it(dial: Any, api: FakeApi, server: RestServer) -> None:
    async with dial(WATCH) as socket, asyncio.timeout(5):
        await server.stop()
        await socket.wait_closed()
    await nobody_watches(api)


async def test_refusals(dial: Any, api: FakeApi) -> None:
    api.watch_refusal = bad_request("no")
    for path, status in ((WATCH, 400), ("/api/v1/namespaces/default/configmaps", 405), ("/api/v1/namespaces/default/configmaps/c", 405)):
        with pytest.raises(InvalidStatus) as caught:
            async with dial(path):
                pass
        assert caught.value.response.status_code == status


@given(events=st.lists(st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"")), max_size=6), data=st.data())
async def test_events_are_whole_however_their_bytes_are_cut(events: list[bytes], data: Any) -> None:
    for written, read in (
        (b"".join(event + b"\n" for event in events), lines),
        (b"".join(len(event).to_bytes(4, "big") + event for event in events), frames),
    ):
        cuts = sorted(data.draw(st.lists(st.integers(0, len(written)), max_size=8)))

        async def chunks(written: bytes = written, cuts: list[int] = cuts) -> AsyncIterator[bytes]:
            for begin, end in pairwise([0, *cuts, len(written)]):
                yield written[begin:end]

        assert [event.rstrip(b"\n") if read is lines else event async for event in read(chunks())] == events
