"""A WebSocket that was accepted, whatever carries it."""

from __future__ import annotations

from typing import Protocol


class Socket(Protocol):
    """The client's messages and ours. What is written raises OSError when the client is gone."""

    async def read(self) -> bytes | None:
        """The next message, a text as UTF-8; None when the client is gone."""
        ...

    async def write(self, data: bytes) -> None:
        """Sends a message; waits while the client does not read."""
        ...

    async def close(self, last: bytes | None = None) -> None:
        """Closes it as it should be; ``last`` is a message that leaves in one piece with the close. More than once is once."""
        ...


class SocketPipe:
    """The bytes of a WebSocket's messages, wherever one ends and the next begins."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._ended = False

    async def read(self) -> bytes:
        while not self._ended:
            message = await self._socket.read()
            if message is None:
                self._ended = True
            elif message:
                return message
        return b""

    async def write(self, data: bytes) -> None:
        await self._socket.write(data)

    def close(self) -> None:
        """Whoever accepted the WebSocket closes it."""
