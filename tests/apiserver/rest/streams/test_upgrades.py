"""What becomes of a connection that was upgraded, and of the count of connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import connect

from services.apiserver.rest.application import Application
from services.apiserver.rest.crowd import Crowd
from services.apiserver.rest.server import RestServer
from tests.apiserver.rest.conftest import TOKEN, Certificates
from tests.apiserver.rest.http_client import HttpClient
from tests.apiserver.rest.streams.fake_node import PODS, FakeNode
from tests.apiserver.rest.streams.spdy_client import spdy

EXEC = f"{PODS}/one/exec?command=x&stdout=true"


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch) -> Crowd:
    crowd = Crowd(room=8)
    monkeypatch.setattr("services.apiserver.rest.server.Crowd", lambda: crowd)
    return crowd


@pytest.fixture
async def server(application: Application, certificates: Certificates, crowd: Crowd) -> AsyncIterator[RestServer]:
    server = RestServer(application, certificates.server)
    await server.start()
    yield server
    await server.stop()


async def nobody_left(crowd: Crowd) -> None:
    async with asyncio.timeout(5):
        while len(crowd):  # noqa: ASYNC110  the crowd has no event
            await asyncio.sleep(0.005)


async def test_who_was_a_websocket_is_counted_until_it_ends(
    server: RestServer, certificates: Certificates, crowd: Crowd, node: FakeNode
) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with connect(f"wss://127.0.0.1:{server.port}{EXEC}", ssl=certificates.client, additional_headers=headers):
        assert len(crowd) == 1
    await nobody_left(crowd)


async def test_who_speaks_spdy_is_counted_until_it_ends(
    server: RestServer, certificates: Certificates, crowd: Crowd, node: FakeNode
) -> None:
    async with spdy(server.port, certificates.client, EXEC, "v4.channel.k8s.io", token=TOKEN):
        assert len(crowd) == 1
    await nobody_left(crowd)


async def test_other_protocols_are_not_taken_up(client: HttpClient) -> None:
    """What follows an upgrade that is answered plainly is the next request."""
    await client.send("GET", "/api/v1/namespaces/default", None, connection="Upgrade, HTTP2-Settings", upgrade="h2c")
    await client.send("GET", f"{PODS}/one", None)
    assert [(await client.answer()).status, (await client.answer()).status] == [200, 200]
