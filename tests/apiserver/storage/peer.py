"""A peer of the HTTP/2 client that does what it is told, frame by frame."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from services.apiserver.storage.wire import frames
from services.apiserver.storage.wire.channel import Address, Channel, Limits
from services.apiserver.storage.wire.frames import Frame

# :status 200, content-type application/grpc; grpc-status 0.
HEAD = b"\x88\x00\x0ccontent-type\x10application/grpc"
WELL = b"\x00\x0bgrpc-status\x010"
LIMITS = Limits(message_bytes=1 << 20, ping_seconds=30.0, answer_seconds=10.0)


class Peer:
    """One connection, as its server sees it. ``settings`` are sent at once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer, self._frames = reader, writer, frames.Frames()
        self._found: list[Frame] = []

    async def greet(self, settings: dict[int, int] | None = None) -> None:
        assert await self._reader.readexactly(len(frames.PREFACE)) == frames.PREFACE
        self.send(frames.settings(settings or {}))
        offered = await self.next(frames.SETTINGS)
        assert frames.read_settings(offered.payload)[frames.HEADER_TABLE_SIZE] == 0
        await self.next(frames.WINDOW_UPDATE)

    def send(self, *parts: bytes) -> None:
        self.writer.write(b"".join(parts))

    async def next(self, *kinds: int) -> Frame:
        """The next frame, of one of these kinds; acknowledged settings are passed over."""
        while True:
            while not self._found:
                data = await self._reader.read(65536)
                if not data:
                    raise EOFError
                self._found += self._frames.feed(data)
            frame = self._found.pop(0)
            if frame.kind == frames.SETTINGS and frame.flags & frames.ACK:
                continue
            assert not kinds or frame.kind in kinds, frame
            return frame

    async def request(self) -> tuple[int, bytes]:
        """The number of the next call and its message, as it is sent at once."""
        head = await self.next(frames.HEADERS)
        body = await self.next(frames.DATA)
        assert body.stream == head.stream
        return head.stream, body.payload[frames.MESSAGE_HEAD :]

    def answer(self, stream: int, message: bytes) -> None:
        self.send(
            frames.frame(frames.HEADERS, frames.END_HEADERS, stream, HEAD),
            frames.frame(frames.DATA, 0, stream, frames.message(message)),
            frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, WELL),
        )


Play = Callable[[Peer], Awaitable[None]]


@asynccontextmanager
async def played(play: Play, limits: Limits = LIMITS) -> AsyncIterator[Channel]:
    """A channel to a server that plays so on each connection; what fails there is raised at the end."""
    failures: list[BaseException] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await play(Peer(reader, writer))
        except (EOFError, ConnectionError):
            pass
        except BaseException as error:
            failures.append(error)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    channel = Channel(Address("127.0.0.1", server.sockets[0].getsockname()[1]), None, limits)
    try:
        async with asyncio.timeout(20):
            yield channel
    finally:
        await channel.close()
        server.close()
        await server.wait_closed()
    assert not failures, failures
