"""Bytes both ways over a connection that was upgraded, as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from knarr.service.presence import has_left

# What was received and not read yet, before nothing more is received.
UNREAD_BYTES = 64 * 1024


class UpgradedConnection(asyncio.Protocol):
    """A connection after its 101, as raw bytes. ``lost`` is called when it is gone."""

    def __init__(self, transport: asyncio.Transport, early: bytes, lost: Callable[[Exception | None], None]) -> None:
        self.transport = transport
        self._lost = lost
        self._unread = bytearray(early)
        self._ended = False
        self._paused = False
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        # Tells something to a client that is held up: one that has ended meanwhile answers it with a reset.
        self.knock: Callable[[], None] | None = None

    def has_left(self) -> bool:
        """Whether the client has closed its side, though that was perhaps not heard because nothing is read of it."""
        if self._paused and self.knock is not None and not self.transport.is_closing():
            self.knock()
        return has_left(self.transport)

    def abort(self) -> None:
        """Drops the connection with whatever waits to be written to it."""
        self.transport.abort()

    async def read(self) -> bytes:
        while not self._unread:
            if self._ended:
                return b""
            self._news.clear()
            await self._news.wait()
        data, self._unread = bytes(self._unread), bytearray()
        if self._paused:
            self._paused = False
            self.transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        if self.transport.is_closing():
            raise ConnectionResetError("the client is gone")
        self.transport.write(data)
        await self._writable.wait()

    def close(self) -> None:
        self.transport.close()

    def shutdown(self) -> None:
        """The server stops: whoever serves the connection ends it."""

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if len(self._unread) > UNREAD_BYTES and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        self._news.set()

    def eof_received(self) -> bool:
        self._end()
        # Who has said everything may still listen; over TLS it cannot.
        return self.transport.get_extra_info("ssl_object") is None

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        self._writable.set()
        self._lost(exc)

    def _end(self) -> None:
        self._ended = True
        self._news.set()
