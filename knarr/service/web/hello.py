"""What a connection is to speak, by the first that its client says. Pure.

A client of gRPC offers HTTP/2 alone in its TLS (ALPN `h2`), one of HTTP offers HTTP/1.1, with or without HTTP/2, or nothing at all.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

# How HTTP/2 begins where it is not encrypted, and a record of TLS that shakes hands.
PREFACE, HANDSHAKE = b"PRI * HTTP/2.0\r\n", 22
CLIENT_HELLO, ALPN = 1, 16
# A hello is two kilobytes at most in practice; what is longer is left to TLS, which refuses it in its own way.
MOST_BYTES = 16 * 1024
# Records that it comes in: one in practice. Each look at a hello that is not whole takes them all again.
MOST_RECORDS = 128
_RECORD_HEAD, _MESSAGE_HEAD = 5, 4


class Kind(Enum):
    GRPC = "grpc"
    HTTP = "http"


class _Short(Exception):
    """More must come."""


class Told(NamedTuple):
    """``secured``: in TLS."""

    kind: Kind
    secured: bool


def told_by(begin: bytes) -> Told | None:
    """None while more must come."""
    if not begin:
        return None
    if begin[0] != HANDSHAKE:
        if PREFACE.startswith(begin[: len(PREFACE)]):
            return Told(Kind.GRPC, False) if len(begin) >= len(PREFACE) else None
        return Told(Kind.HTTP, False)
    try:
        offered = _protocols(_message(begin))
    except _Short:
        return None if len(begin) < MOST_BYTES else Told(Kind.HTTP, True)
    except ValueError:
        return Told(Kind.HTTP, True)
    return Told(Kind.GRPC if b"h2" in offered and b"http/1.1" not in offered else Kind.HTTP, True)


def _message(begin: bytes) -> bytes:
    """The ClientHello without its head, put together of as many records as it takes. Raises _Short, ValueError."""
    message, at, records = b"", 0, 0
    while len(message) < _MESSAGE_HEAD or len(message) < _MESSAGE_HEAD + int.from_bytes(message[1:4], "big"):
        if len(begin) < at + _RECORD_HEAD:
            raise _Short
        length = int.from_bytes(begin[at + 3 : at + 5], "big")
        records += 1
        if begin[at] != HANDSHAKE or not length or records > MOST_RECORDS:
            raise ValueError("no handshake")
        message += begin[at + _RECORD_HEAD : at + _RECORD_HEAD + length]
        if len(begin) < at + _RECORD_HEAD + length and len(message) < _MESSAGE_HEAD + int.from_bytes(message[1:4].ljust(3, b"\xff"), "big"):
            raise _Short
        at += _RECORD_HEAD + length
    if message[0] != CLIENT_HELLO:
        raise ValueError("no ClientHello")
    return message[_MESSAGE_HEAD : _MESSAGE_HEAD + int.from_bytes(message[1:4], "big")]


def _protocols(hello: bytes) -> list[bytes]:
    """Those that its ALPN offers. Raises ValueError for what is no ClientHello."""
    rest = hello[2 + 32 :]
    for width in (1, 2, 1):
        # The session, the ciphers, the compressions.
        _, rest = _vector(rest, width)
    extensions, _ = _vector(rest, 2) if rest else (b"", b"")
    while extensions:
        kind = int.from_bytes(extensions[:2], "big")
        content, extensions = _vector(extensions[2:], 2)
        if kind == ALPN:
            listed, _ = _vector(content, 2)
            found: list[bytes] = []
            while listed:
                name, listed = _vector(listed, 1)
                found.append(name)
            return found
    return []


def _vector(data: bytes, width: int) -> tuple[bytes, bytes]:
    """What follows a length of so many bytes, and what is behind it."""
    end = width + int.from_bytes(data[:width], "big")
    if len(data) < width or len(data) < end:
        raise ValueError("cut off")
    return data[width:end], data[end:]
