"""One call over gRPC without its library, which takes 25 MB of a process that asks seldom: a connection of HTTP/2, a message each way.

Over TLS, as components answer whoever shows a token. https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md is what it speaks.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from services.kubelet.runtime.http2 import ALPN, Answer, Http2Error, connected, exchange

# What gRPC's own clients take, too.
MOST_BYTES = 4 * 1024 * 1024
# gRPC's servers do not answer TLS's farewell: it is not waited for.
CLOSE_SECONDS = 0.01
UNIX, LOCALHOST = "unix", "localhost"
PREFIX = struct.Struct("!BI")
OK, UNKNOWN, UNAVAILABLE, DEADLINE_EXCEEDED = 0, 2, 14, 4


class Failed(Exception):
    """A call that was not answered with OK; ``code`` is gRPC's."""

    def __init__(self, code: int, details: str) -> None:
        super().__init__(details)
        self.code = code


@dataclass(frozen=True, slots=True)
class Way:
    """To a component: ``host:port`` or ``unix:PATH``, whom its certificate must be of, what is shown to it (empty for nothing)."""

    address: str
    trust: ssl.SSLContext
    token: str = ""


def trusting(authority: bytes) -> ssl.SSLContext:
    """For ``Way``: certificates of this authority, which is PEM."""
    context = ssl.create_default_context(cadata=authority.decode())
    context.set_alpn_protocols([ALPN])
    return context


async def unary(way: Way, method: str, message: bytes, seconds: float) -> bytes:
    """The answer to a message, both as they are on the wire. Raises Failed."""
    host, _, port = way.address.rpartition(":")
    socket = port if host == UNIX else ""
    host, number = (LOCALHOST, 0) if socket else (host, int(port))
    own = [(":method", "POST"), (":scheme", "https"), (":authority", host if socket else way.address), (":path", method)]
    headers = [*own, ("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", f"{round(seconds * 1000)}m")]
    if way.token:
        headers.append(("authorization", f"Bearer {way.token}"))
    try:
        async with asyncio.timeout(seconds), connected(host, number, way.trust, CLOSE_SECONDS, socket) as connection:
            body = PREFIX.pack(0, len(message)) + message
            return answered(await exchange(connection, headers, body, MOST_BYTES, window=MOST_BYTES))
    except TimeoutError:
        raise Failed(DEADLINE_EXCEEDED, f"no answer within {seconds:g} s") from None
    except (Http2Error, OSError) as error:
        raise Failed(UNAVAILABLE, str(error) or type(error).__name__) from error


def answered(answer: Answer) -> bytes:
    """The message of an answer. Raises Failed for what is none."""
    # Where there is nothing but trailers they come as the headers.
    said: Mapping[str, str] = answer.trailers if "grpc-status" in answer.trailers else answer.headers
    status = said.get("grpc-status", "")
    if not status.isdecimal():
        raise Failed(UNKNOWN, f"the answer is no gRPC's: HTTP {answer.status}, {len(answer.body)} bytes")
    if int(status) != OK:
        raise Failed(int(status), unquote(said.get("grpc-message", "")) or f"gRPC status {status}")
    if len(answer.body) < PREFIX.size or PREFIX.unpack_from(answer.body) != (0, len(answer.body) - PREFIX.size):
        raise Failed(UNKNOWN, f"the answer is no single message: {len(answer.body)} bytes")
    return answer.body[PREFIX.size :]
