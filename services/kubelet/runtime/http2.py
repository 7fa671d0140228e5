"""One request over HTTP/2 on a connection of its own, for probes and for who asks seldom.

A connection that carries one request needs little: no priorities, no pushes, and no more window than the answer that is looked at.
Without TLS the other side must know that HTTP/2 comes (prior knowledge), with it both agree by ALPN.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from hpack import Decoder, Encoder
from hpack.exceptions import HPACKError

from knarr.service import endings

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GO_AWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_STREAM, END_HEADERS, PADDED, PRIORITY, ACK = 0x1, 0x4, 0x8, 0x20, 0x1
WINDOW_UPDATE = 8
ENABLE_PUSH, INITIAL_WINDOW_SIZE = 2, 4
# Which both sides begin with.
WINDOW_BYTES = 65_535
STREAM = 1
MAX_FRAME_BYTES, MAX_HEADER_BYTES = 16384, 64 * 1024
ALPN = "h2"
# How long TLS may take to say goodbye.
CLOSE_SECONDS = 1.0

Headers = Sequence[tuple[str, str]]
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Http2Error(Exception):
    """The other side does not speak HTTP/2, or will not answer."""


@dataclass(slots=True)
class Answer:
    """``headers`` are the last ones before the body, ``trailers`` those after it."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    trailers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@asynccontextmanager
async def connected(
    host: str, port: int, tls: ssl.SSLContext | None, close_seconds: float = CLOSE_SECONDS, socket: str = ""
) -> AsyncIterator[Connection]:
    """A connection until the end of the block, to a host's port or a Unix socket, behind which ``host`` is; raises OSError, and Http2Error
    where TLS does not end in HTTP/2."""
    options: dict[str, Any] = {"ssl": tls, "ssl_shutdown_timeout": close_seconds} if tls is not None else {}
    if socket:
        options |= {"server_hostname": host} if tls is not None else {}
        reader, writer = await asyncio.open_unix_connection(socket, **options)
    else:
        reader, writer = await asyncio.open_connection(host, port, **options)
    try:
        session: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
        if session is not None and session.selected_alpn_protocol() != ALPN:
            raise Http2Error("the server does not speak HTTP/2")
        yield reader, writer
    finally:
        await endings.close(writer)


async def exchange(connection: Connection, headers: Headers, body: bytes | None, limit: int, window: int = WINDOW_BYTES) -> Answer:
    """Sends a request and reads its answer, of the body no more than ``limit`` bytes; it is no longer than ``window``, for no more is ever
    asked for. Raises Http2Error and OSError."""
    reader, writer = connection
    block = Encoder().encode(list(headers))
    writer.write(PREFACE + _frame(SETTINGS, 0, 0, struct.pack("!HIHI", ENABLE_PUSH, 0, INITIAL_WINDOW_SIZE, window)))
    if window > WINDOW_BYTES:
        # The connection's own, which settings leave alone.
        writer.write(_frame(WINDOW_UPDATE, 0, 0, struct.pack("!I", window - WINDOW_BYTES)))
    for place in range(0, len(block), MAX_FRAME_BYTES):
        last = END_HEADERS if place + MAX_FRAME_BYTES >= len(block) else 0
        ends = END_STREAM if body is None and not place else 0
        writer.write(_frame(CONTINUATION if place else HEADERS, last | ends, STREAM, block[place : place + MAX_FRAME_BYTES]))
    if body is not None:
        writer.write(_frame(DATA, END_STREAM, STREAM, body))
    await writer.drain()
    try:
        return await _Reading(reader, writer, limit).answer()
    except asyncio.IncompleteReadError as error:
        raise Http2Error("the server closed the connection") from error
    except (HPACKError, ValueError, struct.error, IndexError) as error:
        raise Http2Error(f"malformed HTTP/2 answer: {error}") from error


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


class _Reading:
    """Reads the answer to the one request of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int) -> None:
        self._reader, self._writer, self._limit = reader, writer, limit
        # More would be text that was packed well: no answer to a probe has it.
        self._decoder = Decoder(max_header_list_size=MAX_HEADER_BYTES)
        self._answer = Answer()
        self._block = b""
        self._ended = False

    async def answer(self) -> Answer:
        while not self._ended and len(self._answer.body) < self._limit:
            head = await self._reader.readexactly(9)
            length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            stream = int.from_bytes(head[5:], "big") & 0x7FFFFFFF
            if length > MAX_FRAME_BYTES:
                raise Http2Error("malformed HTTP response")
            self._take(kind, flags, stream, await self._reader.readexactly(length))
        return self._answer

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind in (SETTINGS, PING) and not flags & ACK:
            self._writer.write(_frame(kind, ACK, 0, payload if kind == PING else b""))
        elif kind == GO_AWAY:
            raise Http2Error(f"the server ended the connection (error {int.from_bytes(payload[4:8], 'big')})")
        elif stream == STREAM:
            self._take_part(kind, flags, payload)

    def _take_part(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == RESET:
            raise Http2Error(f"the server reset the stream (error {int.from_bytes(payload, 'big')})")
        if kind in (DATA, HEADERS):
            self._ended = bool(flags & END_STREAM)
            if flags & PADDED:
                payload = payload[1 : len(payload) - payload[0]]
        if kind == DATA:
            self._answer.body = (self._answer.body + payload)[: self._limit]
        elif kind in (HEADERS, CONTINUATION):
            self._block += payload[5:] if kind == HEADERS and flags & PRIORITY else payload
            if len(self._block) > MAX_HEADER_BYTES:
                raise Http2Error("the answer's headers are too long")
            if flags & END_HEADERS:
                self._take_headers()

    def _take_headers(self) -> None:
        found = {str(name): str(value) for name, value in self._decoder.decode(self._block)}
        self._block = b""
        if ":status" not in found:
            self._answer.trailers = found
        elif (status := int(found[":status"])) >= 200:
            self._answer.status, self._answer.headers = status, found
