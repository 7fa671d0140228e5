"""HTTP/1.1 with an engine: one request and its answer, on a connection of their own.

A whole client of HTTP took a fifteenth of a cluster's memory at rest and of the time of its start, for what is done here: no redirects,
no TLS, no cookies, no connection that is used again. The parser is the one that serves the API.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

from httptools import HttpParserError, HttpResponseParser

READ_BYTES = 1 << 16
# What tells where an answer ends; one without ends with its connection.
LENGTHS = (b"content-length", b"transfer-encoding")


class Exchange:
    """What goes over one connection, once. Raises OSError where the engine goes away, or speaks no HTTP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._parser = HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._begun = self._complete = self._measured = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._measured = self._measured or name.lower() in LENGTHS

    def on_headers_complete(self) -> None:
        self._begun = True

    def on_body(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        self._complete = True

    def send(self, method: str, target: str, host: str, headers: Mapping[str, str], body: bytes | None) -> None:
        """Sends the request whole; an engine that answers before it has read all of it is listened to meanwhile."""
        lines = {"Host": host, "Connection": "close", **headers}
        if body is not None or method != "GET":
            lines["Content-Length"] = str(len(body or b""))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._writer.write(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + (body or b""))

    async def status(self) -> int:
        """The answer's status, once its head is there."""
        while not self._begun:
            await self._receive()
        return int(self._parser.get_status_code())

    async def body(self) -> bytes:
        """The whole of the answer's body."""
        return b"".join([piece async for piece in self.pieces()])

    async def pieces(self) -> AsyncIterator[bytes]:
        """The answer's body as it comes."""
        while True:
            pieces, self._pieces = self._pieces, []
            for piece in pieces:
                yield piece
            if not pieces:
                if self._complete:
                    return
                await self._receive()

    async def _receive(self) -> None:
        data = await self._reader.read(READ_BYTES)
        if data:
            try:
                self._parser.feed_data(data)
            except HttpParserError as error:
                raise ConnectionError(f"its answer is no HTTP: {error}") from error
        elif self._begun and not self._measured:
            self._complete = True
        else:
            raise ConnectionResetError("its answer broke off" if self._begun else "it closed the connection without an answer")

    async def close(self) -> None:
        """Ends the connection at once, whatever is under way."""
        self._writer.transport.abort()
        with suppress(OSError):
            await self._writer.wait_closed()
