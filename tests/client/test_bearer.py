"""A token that is shown with every call."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from knarr.client.channel import open_channel
from knarr.service.certificates import CertificateAuthority

HOST = "127.0.0.1"
KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
SAID = b"said"


class Telling(grpc.GenericRpcHandler):
    """A method of each kind, called as its kind is, that answers what it was shown."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        kind = details.method.rpartition("/")[2]
        handler = self._tell_all if kind.endswith("stream") else self._tell
        return getattr(grpc, f"{kind}_rpc_method_handler")(handler)

    async def _tell(self, _: Any, context: Any) -> bytes:
        return b", ".join(f"{key}={value}".encode() for key, value in context.invocation_metadata() if key in ("authorization", "more"))

    async def _tell_all(self, _: Any, context: Any) -> AsyncIterator[bytes]:
        yield await self._tell(_, context)


@pytest.fixture
async def opened() -> AsyncIterator[grpc.aio.Channel]:
    authority = CertificateAuthority.create()
    pair = authority.issue("server", hosts=[HOST])
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Telling(),))
    port = server.add_secure_port(f"{HOST}:0", grpc.ssl_server_credentials([(pair.key, pair.certificate)]))
    await server.start()
    async with open_channel(f"{HOST}:{port}", authority.pair.certificate, "secret") as channel:
        yield channel
    await server.stop(None)


async def ask(channel: grpc.aio.Channel, kind: str, **options: Any) -> bytes:
    asked = iter([SAID]) if kind.startswith("stream") else SAID
    call = getattr(channel, kind)(f"/tests.Telling/{kind}")(asked, timeout=10, **options)
    answer: bytes = await call.read() if kind.endswith("stream") else await call
    return answer


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_of_each_kind_shows_it_beside_what_else_is_said(opened: grpc.aio.Channel, kind: str) -> None:
    assert await ask(opened, kind) == b"authorization=Bearer secret"
    assert await ask(opened, kind, metadata=(("more", "1"),)) == b"more=1, authorization=Bearer secret"


async def test_no_call_starts_a_thread(opened: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    await ask(opened, "unary_unary")
    begun: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "start", begun.append)
    assert await ask(opened, "unary_unary") == b"authorization=Bearer secret"
    assert not begun


async def test_without_tls_nothing_is_shown() -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Telling(),))
    port = server.add_insecure_port(f"{HOST}:0")
    await server.start()
    async with open_channel(f"{HOST}:{port}", None, "secret") as channel:
        assert await ask(channel, "unary_unary") == b""
    await server.stop(None)


async def test_it_tells_of_the_connection_and_ends_it(opened: grpc.aio.Channel) -> None:
    await opened.channel_ready()
    assert opened.get_state() == grpc.ChannelConnectivity.READY
    await opened.close()
    assert opened.get_state() == grpc.ChannelConnectivity.SHUTDOWN
