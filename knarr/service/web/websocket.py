"""WebSockets on connections of a component's HTTPS: the handshake, and a ``knarr.service.streams.socket.Socket`` over a pipe.

Nobody but who is asked for one loads this: the frames are a library's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from functools import partial

from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State
from websockets.utils import accept_key

from knarr.machinery.errors import bad_request
from knarr.service.pipe import Pipe
from knarr.service.web.message import WebRequest
from knarr.service.web.upgraded import UpgradedConnection

MESSAGE_BYTES = 1024 * 1024
# For the client to take what was said last.
FAREWELL_SECONDS = 2.0
NORMAL = 1000


def offered_protocols(request: WebRequest) -> list[str]:
    return [name.strip() for name in request.headers.get("sec-websocket-protocol", "").split(",") if name.strip()]


def accepting(request: WebRequest, protocol: str | None) -> tuple[tuple[str, str], ...]:
    """The headers that accept a WebSocket. Raises BadRequest for a request that is no handshake."""
    key = request.headers.get("sec-websocket-key", "")
    if request.method != "GET" or not key or request.headers.get("sec-websocket-version") != "13":
        raise bad_request("this is no handshake of a WebSocket: it takes GET, Sec-WebSocket-Key and Sec-WebSocket-Version: 13")
    chosen = (("Sec-WebSocket-Protocol", protocol),) if protocol else ()
    return (("Upgrade", "websocket"), ("Sec-WebSocket-Accept", accept_key(key)), *chosen)


class WebSocket:
    """One that was accepted, over ``pipe``; one task reads."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._protocol = Protocol(Side.SERVER, state=State.OPEN, max_size=MESSAGE_BYTES)
        self._frames: deque[Frame] = deque()
        if isinstance(pipe, UpgradedConnection):
            pipe.knock = partial(self._knock, pipe)

    async def read(self) -> bytes | None:
        message = bytearray()
        while True:
            while self._frames:
                frame = self._frames.popleft()
                if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                    message += frame.data
                    if frame.fin:
                        return bytes(message)
            if self._protocol.state is not State.OPEN:
                return None
            data = await self._pipe.read()
            if not data:
                return None
            # Pings are answered, and what breaks the rules is told by a close, by the library.
            self._protocol.receive_data(data)
            self._frames.extend(event for event in self._protocol.events_received() if isinstance(event, Frame))
            await self._flush()

    async def write(self, data: bytes) -> None:
        try:
            self._protocol.send_binary(data)
        except InvalidState as error:
            raise ConnectionResetError("the client is gone") from error
        await self._flush()

    async def close(self, last: bytes | None = None) -> None:
        with suppress(InvalidState):
            if last is not None:
                self._protocol.send_binary(last)
            self._protocol.send_close(NORMAL)
        await self._flush()

    async def leave(self) -> None:
        """Closes it, and waits for the client to go: a connection that is closed over what was not read of it loses what was written."""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self.close()
                while data := await self._pipe.read():
                    self._protocol.receive_data(data)
                    if self._protocol.close_rcvd is not None:
                        return

    def _knock(self, connection: UpgradedConnection) -> None:
        with suppress(InvalidState):
            self._protocol.send_ping(b"")
            connection.transport.write(b"".join(self._protocol.data_to_send()))

    async def _flush(self) -> None:
        # In one piece, and begun before anything else can be.
        if data := b"".join(self._protocol.data_to_send()):
            await self._pipe.write(data)
