"""A SPDY/3.1 connection over a pipe of bytes: streams that are read and written by whoever serves them.

What streams hold unread is bounded for the connection as a whole; beyond it nothing more is read from the pipe.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress

from knarr.service.pipe import Pipe
from knarr.service.spdy.connection import Broken, Connection, Event, Finished, Left, Opened, Received, Replied
from knarr.service.spdy.errors import StreamClosed

# What all streams of a connection hold unread, and how long their connection is kept for the peer to take what was said last.
UNREAD_BYTES = 1024 * 1024
FAREWELL_SECONDS = 2.0
# How often a peer that is held up is asked for a sign of life.
HELD_UP_SECONDS = 5.0


class Stream:
    """One stream of a session. ``headers`` are those it was opened with, by lower-case name."""

    def __init__(self, session: Session, number: int, headers: Mapping[str, str]) -> None:
        self.number, self.headers = number, headers
        self.replied = asyncio.Event()
        self._session = session
        self._unread: deque[bytes] = deque()
        self._ended = False
        self._news = asyncio.Event()

    async def read(self) -> bytes:
        """The next bytes; empty when no more come, for whatever reason."""
        while not self._unread:
            if self._ended:
                return b""
            self._news.clear()
            await self._news.wait()
        data = self._unread.popleft()
        self._session._taken(len(data))
        return data

    async def write(self, data: bytes) -> None:
        """Raises StreamClosed when the peer, or this side, has closed the stream; waits while the peer does not read."""
        self._session.connection.send(self.number, data)
        await self._session.flush()

    async def close(self) -> None:
        """Says that nothing more is sent; once, or where the peer has gone, is enough."""
        with suppress(StreamClosed):
            self._session.connection.send(self.number, b"", fin=True)
            self._session._settle(self.number)
            await self._session.flush()

    async def reset(self) -> None:
        """Gives the stream up both ways, and what was not read."""
        self._session._give_up(self)
        await self._session.flush()

    def _receive(self, data: bytes) -> None:
        self._unread.append(data)
        self._news.set()

    def _end(self) -> None:
        self._ended = True
        self._news.set()

    def _discard(self) -> int:
        size = sum(map(len, self._unread))
        self._unread.clear()
        self._end()
        return size


class Session:
    """``opened`` is called with each stream that the peer opens, which is taken at once."""

    def __init__(self, pipe: Pipe, opened: Callable[[Stream], None], *, client: bool = False) -> None:
        self.connection = Connection(client=client)
        self._pipe, self._opened = pipe, opened
        self._streams: dict[int, Stream] = {}
        self._unread_bytes = 0
        # Their numbers are odd or even, as those of streams are.
        self._pings = -1 if client else 0
        self._room = asyncio.Event()
        self._flushing = asyncio.Lock()

    async def run(self) -> None:
        """Until the peer is gone. Raises ProtocolViolation for one that does not speak SPDY."""
        try:
            while data := await self._pipe.read():
                for event in self.connection.receive(data):
                    self._happened(event)
                await self.flush()
                while self._unread_bytes > UNREAD_BYTES:
                    await self._have_room()
        finally:
            for stream in list(self._streams.values()):
                stream._end()

    async def _have_room(self) -> None:
        """Waits for it. Now and then the peer is told something: one that has ended while it is held up answers that with a reset, which
        is all that can be heard of it then."""
        self._room.clear()
        try:
            async with asyncio.timeout(HELD_UP_SECONDS):
                await self._room.wait()
        except TimeoutError:
            self._pings += 2
            self.connection.ping(self._pings)
            await self.flush()

    def _happened(self, event: Event) -> None:
        match event:
            case Received(number, data):
                self._unread_bytes += len(data)
                self._streams[number]._receive(data)
            case Opened(number, headers):
                self.connection.reply(number)
                stream = self._streams[number] = Stream(self, number, headers)
                self._opened(stream)
            case Finished(number):
                self._streams[number]._end()
                self._settle(number)
            case Replied(number):
                self._streams[number].replied.set()
            case Broken(number):
                # What came before is still to be read.
                self._streams.pop(number)._end()
            case Left():
                pass

    async def open(self, headers: Mapping[str, str]) -> Stream:
        """Opens a stream; ``replied`` tells when the peer has taken it."""
        number = self.connection.open(headers)
        stream = self._streams[number] = Stream(self, number, headers)
        await self.flush()
        return stream

    def refuse(self, stream: Stream) -> None:
        """Gives up a stream that was opened just now; the peer hears it with what is sent next."""
        self._give_up(stream)

    async def flush(self) -> None:
        """Sends what is to be sent; waits while the peer does not read."""
        async with self._flushing:
            if data := self.connection.take():
                await self._pipe.write(data)

    async def leave(self, running: asyncio.Task[None]) -> None:
        """Says goodbye and lets ``running``, the task of ``run``, see the peer go: a connection that is closed over what was not read of it
        loses what was written to it."""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                for stream in list(self._streams.values()):
                    self._give_up(stream)
                self.connection.leave()
                await self.flush()
                await asyncio.wait({running})

    def _give_up(self, stream: Stream) -> None:
        self.connection.reset(stream.number)
        self._streams.pop(stream.number, None)
        self._taken(stream._discard())

    def _settle(self, number: int) -> None:
        """Lets go of a stream on which nothing more is sent; who reads it still has what it holds."""
        if not self.connection.is_open(number):
            self._streams.pop(number, None)

    def _taken(self, size: int) -> None:
        self._unread_bytes -= size
        if self._unread_bytes <= UNREAD_BYTES:
            self._room.set()
