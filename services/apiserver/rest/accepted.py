"""A WebSocket that was accepted, by ASGI's messages."""

from __future__ import annotations

from typing import Any

from services.apiserver.rest.request import Receive, Send


class AcceptedSocket:
    """A ``knarr.service.streams.socket.Socket``."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._closed = False

    async def read(self) -> bytes | None:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            return None
        return bytes(message.get("bytes") or (message.get("text") or "").encode())

    async def write(self, data: bytes) -> None:
        await self._send({"type": "websocket.send", "bytes": data})

    async def close(self, last: bytes | None = None) -> None:
        if not self._closed:
            self._closed = True
            words: dict[str, Any] = {} if last is None else {"last": last}
            await self._send({"type": "websocket.close", "code": 1000, **words})
