"""A client that upgrades a connection to SPDY/3.1, with the server's own codec on the other side."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from knarr.service.pipe import Pipe
from knarr.service.spdy.session import Session, Stream
from tests.apiserver.rest.http_client import Answer, HttpClient


@dataclass
class Wire:
    """A pipe over the streams of asyncio."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def read(self) -> bytes:
        try:
            return await self.reader.read(65536)
        except OSError:
            return b""

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def close(self) -> None:
        self.writer.close()


@dataclass
class SpdyClient:
    """An upgraded connection; ``answer`` is the one that upgraded it."""

    session: Session
    answer: Answer
    wire: Pipe
    running: asyncio.Task[None]

    async def open(self, kind: str, **headers: str) -> Stream:
        stream = await self.session.open({"streamType": kind, **headers})
        async with asyncio.timeout(5):
            await stream.replied.wait()
        return stream


@asynccontextmanager
async def spdy(
    port: int, context: ssl.SSLContext | None, path: str, *protocols: str, token: str = "", method: str = "POST"
) -> AsyncIterator[SpdyClient]:
    """Raises AssertionError with the answer where the connection is not upgraded."""
    http = HttpClient(port, context, token)
    await http.connect()
    headers = {"connection": "Upgrade", "upgrade": "SPDY/3.1"}
    if protocols:
        headers["x-stream-protocol-version"] = ", ".join(protocols)
    await http.send(method, path, None, **headers)
    answer = await http.head()
    assert answer.status == 101, answer
    wire = Wire(*http.streams)
    session = Session(wire, lambda stream: None, client=True)
    running = asyncio.create_task(session.run())
    try:
        yield SpdyClient(session, answer, wire, running)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await http.close()


async def everything(stream: Stream) -> bytes:
    """What a stream says to its end."""
    found = b""
    async with asyncio.timeout(5):
        while data := await stream.read():
            found += data
    return found
