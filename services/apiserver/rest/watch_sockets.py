"""Watches over WebSockets, as browsers open them: a message for each event, as text where it is JSON."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress

from services.apiserver.rest import negotiation
from services.apiserver.rest.metrics import STREAMS
from services.apiserver.rest.request import Receive, Request, Send
from services.apiserver.rest.routing import Target
from services.apiserver.rest.sockets import until_first
from services.apiserver.rest.watches import Watches

LENGTH_BYTES = 4


class WatchSockets:
    """``ending`` is set when the server stops."""

    def __init__(self, watches: Watches, ending: asyncio.Event) -> None:
        self._watches, self._ending = watches, ending

    async def serve(self, request: Request, target: Target, receive: Receive, send: Send) -> None:
        """Raises, before the WebSocket is accepted, what is wrong with the options. As in Kubernetes no sub-protocol is spoken."""
        stream = await self._watches.watch(request, target)
        is_text = stream.content_type.startswith(negotiation.JSON)
        try:
            await receive()
            await send({"type": "websocket.accept"})
            with suppress(OSError), STREAMS.labels("watch").track_inprogress():
                await until_first(_write(stream.chunks, is_text, send), receive, self._ending)
                await send({"type": "websocket.close", "code": 1000})
        finally:
            await stream.chunks.aclose()


async def _write(chunks: AsyncIterator[bytes], is_text: bool, send: Send) -> None:
    async for event in lines(chunks) if is_text else frames(chunks):
        await send({"type": "websocket.send", **({"text": event.decode()} if is_text else {"bytes": event})})


async def lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Events of JSON, each with the line's end that it is written with; a chunk may hold several, or a part of one."""
    parts: list[bytes] = []
    async for chunk in chunks:
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            yield b"".join((*parts, line, b"\n"))
            parts = []
        if rest:
            parts.append(rest)


async def frames(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Events that are preceded by their length."""
    kept, needed = bytearray(), LENGTH_BYTES
    async for chunk in chunks:
        kept += chunk
        while len(kept) >= needed:
            length = int.from_bytes(kept[:LENGTH_BYTES], "big")
            needed = LENGTH_BYTES + length
            if len(kept) < needed:
                break
            yield bytes(kept[LENGTH_BYTES:needed])
            del kept[:needed]
            needed = LENGTH_BYTES
