"""Clients that say more than anybody takes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from websockets.asyncio.client import connect

from knarr.service.spdy.session import Session
from tests.apiserver.rest.http_client import HttpClient
from tests.apiserver.rest.streams.spdy_client import Wire

PIECE = b"x" * 32768
Say = Callable[[], Any]


async def over_a_websocket(
    port: int, trust: ssl.SSLContext, path: str, token: str, kinds: Sequence[str] = ()
) -> tuple[asyncio.WriteTransport, Say]:
    """The connection, and what says a piece on its first channel."""
    client = await connect(
        f"wss://127.0.0.1:{port}{path}", ssl=trust, subprotocols=["v4.channel.k8s.io"],  # type: ignore[list-item]
        additional_headers={"Authorization": f"Bearer {token}"}, open_timeout=5, ping_interval=None,
    )  # fmt: skip
    return client.transport, lambda: client.send(b"\x00" + PIECE)


async def over_spdy(port: int, trust: ssl.SSLContext, path: str, token: str, kinds: Sequence[str]) -> tuple[asyncio.WriteTransport, Say]:
    """The same on the last stream of these kinds."""
    http = HttpClient(port, trust, token)
    await http.connect()
    protocol = "portforward.k8s.io" if "portforward" in path else "v4.channel.k8s.io"
    upgrade = {"connection": "Upgrade", "upgrade": "SPDY/3.1", "x-stream-protocol-version": protocol}
    await http.send("POST", path, None, **upgrade)
    assert (await http.head()).status == 101
    session = Session(Wire(*http.streams), lambda stream: None, client=True)
    streams = [await session.open({"streamType": kind, "port": "80", "requestID": "1"}) for kind in kinds]
    return http.streams[1].transport, lambda: streams[-1].write(PIECE)


async def held_up(say: Say) -> asyncio.Task[None]:
    """Says pieces until nothing more is taken."""

    async def flood() -> None:
        while True:
            await say()

    flooding = asyncio.create_task(flood())
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(flooding), 0.5)
    assert not flooding.done()
    return flooding
