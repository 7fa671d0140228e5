"""Connections are counted from the first moment, on whichever loop."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Callable

import pytest

from knarr.machinery.catalog import registry
from services.apiserver.rest.application import create_app
from services.apiserver.rest.crowd import Crowd
from services.apiserver.rest.server import RestServer
from tests.apiserver.rest.conftest import TOKEN, TOKENS, Certificates
from tests.apiserver.rest.fake_api import FakeApi
from tests.apiserver.rest.http_client import HttpClient
from tests.support.loops import new_uvloop

pytestmark = pytest.mark.hostile


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, new_uvloop])
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


def test_a_connection_that_is_gone_lies_in_no_circle(certificates: Certificates) -> None:
    """What refers to itself stays until the collector comes, and to what has lived for long it comes seldom."""

    def left() -> set[str]:
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            gc.collect()
            return {f"{type(found).__module__}.{type(found).__qualname__}" for found in gc.garbage}
        finally:
            gc.set_debug(0)
            gc.garbage.clear()

    async def wave(server: RestServer, path: str) -> None:
        def come_and_go() -> None:
            with certificates.client.wrap_socket(
                socket.create_connection(("127.0.0.1", server.port)), server_hostname="127.0.0.1"
            ) as client:
                client.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n".encode())
                assert client.recv(4096).startswith(b"HTTP/1.1 200 ")

        await asyncio.to_thread(come_and_go)
        while server._state.connections or server._state.tasks:  # noqa: ASYNC110  what is waited for has no event
            await asyncio.sleep(0.005)

    async def waves() -> set[str]:
        server = RestServer(create_app(FakeApi(), TOKENS, registry()), certificates.server)
        await server.start()
        try:
            async with asyncio.timeout(10):
                for path in ("/version", "/api/v1/namespaces/default/configmaps?watch=true"):
                    await wave(server, path)
                gc.collect()
                gc.disable()
                for path in ("/version", "/api/v1/namespaces/default/configmaps?watch=true"):
                    await wave(server, path)
                return left()
        finally:
            gc.enable()
            await server.stop()

    with asyncio.Runner(loop_factory=new_uvloop) as runner:
        assert not [name for name in runner.run(waves()) if name.startswith(("services.", "uvicorn.", "uvloop.", "ssl.", "httptools."))]
