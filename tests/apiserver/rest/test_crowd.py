"""Connections are counted from the first moment, on whichever loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from knarr.machinery.catalog import registry
from services.apiserver.rest.application import create_app
from services.apiserver.rest.crowd import Crowd
from services.apiserver.rest.server import RestServer
from tests.apiserver.rest.conftest import TOKEN, TOKENS, Certificates
from tests.apiserver.rest.fake_api import FakeApi
from tests.apiserver.rest.http_client import HttpClient

pytestmark = pytest.mark.hostile


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_who_does_not_begin_with_tls_is_counted_too(
    new_loop: Callable[[], asyncio.AbstractEventLoop], certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.apiserver.rest.server.Crowd", lambda: Crowd(room=8, strangers=4))

    async def crowded() -> None:
        server = RestServer(create_app(FakeApi(), TOKENS, registry()), certificates.server)
        await server.start()
        try:
            async with HttpClient(server.port, certificates.client, TOKEN) as known, asyncio.timeout(10):
                assert (await known.get("/api/v1/pods")).status == 200
                silent = [HttpClient(server.port, None) for _ in range(20)]
                for client in silent:
                    await client.connect()
                for client in silent[:16]:
                    assert await client.at_end()
                assert (await known.get("/api/v1/pods")).status == 200
                async with HttpClient(server.port, certificates.client) as stranger:
                    assert (await stranger.get("/livez")).status == 200
                for client in silent:
                    await client.close()
        finally:
            await server.stop()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(crowded())
