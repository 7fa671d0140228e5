"""HTTP/2 frames and gRPC messages as bytes (RFC 9113, gRPC over HTTP/2), as far as a client needs them; without I/O.

No header of ours is remembered by the peer, and none of the peer's by us: so the same headers are the same bytes each time, those of a
request are made once, and those of answers are understood once.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import unquote

import grpc
from hpack import Decoder
from hpack.exceptions import HPACKError

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = range(1, 6)
NO_ERROR, FLOW_CONTROL_ERROR, REFUSED_STREAM, CANCEL = 0, 3, 7, 8
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# What a side may send before it is told otherwise.
DEFAULT_WINDOW, DEFAULT_FRAME_BYTES = 65_535, 16_384
# The largest window, and number of a stream.
LIMIT = 2**31 - 1
FRAME_HEAD, MESSAGE_HEAD = 9, 5
# A header block of a peer that does not end; etcd's answers have a hundred bytes.
MAX_BLOCK_BYTES = 64 * 1024
# Header blocks that are remembered: etcd's answers have a few, its errors their words.
MAX_BLOCKS = 64

_HEAD = struct.Struct(">HBBBL")
_PAIR = struct.Struct(">HL")
_NUMBER = struct.Struct(">L")
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class ProtocolError(Exception):
    """The peer speaks otherwise than HTTP/2 with gRPC is spoken: the connection is of no use."""


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


class Ended(NamedTuple):
    """How the peer ended a call."""

    code: grpc.StatusCode
    details: str


class Frames:
    """Cuts what comes into frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Sequence[Frame]:
        """The frames that are whole now. Raises ProtocolError for one that is larger than was permitted."""
        if self._rest:
            data = self._rest + data
        found: list[Frame] = []
        position, end = 0, len(data)
        while end - position >= FRAME_HEAD:
            high, low, kind, flags, stream = _HEAD.unpack_from(data, position)
            length = high << 8 | low
            if length > DEFAULT_FRAME_BYTES:
                raise ProtocolError(f"a frame of {length} bytes")
            stop = position + FRAME_HEAD + length
            if stop > end:
                break
            found.append(Frame(kind, flags, stream & LIMIT, data[position + FRAME_HEAD : stop]))
            position = stop
        self._rest = data[position:]
        return found


def head(length: int, kind: int, flags: int, stream: int) -> bytes:
    """What stands before a payload of ``length`` bytes."""
    return _HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return head(len(payload), kind, flags, stream) + payload


def settings(values: Mapping[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(_PAIR.pack(name, value) for name, value in values.items()))


def read_settings(payload: bytes) -> dict[int, int]:
    if len(payload) % _PAIR.size:
        raise ProtocolError("settings of a wrong length")
    return dict(_PAIR.iter_unpack(payload))


def window_update(stream: int, more: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, _NUMBER.pack(more))


def reset(stream: int, code: int) -> bytes:
    return frame(RST_STREAM, 0, stream, _NUMBER.pack(code))


def number(payload: bytes, offset: int = 0) -> int:
    """A number of 31 bits."""
    if len(payload) < offset + _NUMBER.size:
        raise ProtocolError("a frame that is too short")
    found: int = _NUMBER.unpack_from(payload, offset)[0]
    return found & LIMIT


def unpadded(found: Frame) -> bytes:
    """What a frame of data or headers carries, without padding and priority."""
    start, stop = 0, len(found.payload)
    if found.flags & PADDED:
        if not found.payload:
            raise ProtocolError("padding without its length")
        start, stop = 1, stop - found.payload[0]
    if found.kind == HEADERS and found.flags & HAS_PRIORITY:
        start += 5
    if start > stop:
        raise ProtocolError("more padding than there is")
    return found.payload[start:stop]


def message(raw: bytes) -> bytes:
    """A gRPC message: not compressed, its length, itself."""
    return b"\0" + _NUMBER.pack(len(raw)) + raw


def message_length(head: bytes | bytearray) -> int:
    """The length that the first five bytes of a message tell."""
    if head[0]:
        raise ProtocolError("a compressed message, though none was asked for")
    found: int = _NUMBER.unpack_from(head, 1)[0]
    return found


def request_block(scheme: str, authority: str, path: str, metadata: Sequence[tuple[str, str]]) -> bytes:
    """The headers of a call, each a literal that is not remembered (RFC 7541, 6.2.2)."""
    headers = [
        (":method", "POST"), (":scheme", scheme), (":path", path), (":authority", authority),
        ("te", "trailers"), ("content-type", "application/grpc"), *metadata,
    ]  # fmt: skip
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in headers)


def _text(value: str) -> bytes:
    raw = value.encode()
    if len(raw) < 127:
        return bytes([len(raw)]) + raw
    left, length = len(raw) - 127, bytearray([127])
    while left >= 128:
        length.append(left & 127 | 128)
        left >>= 7
    return bytes([*length, left]) + raw


class Answers:
    """Understands the header blocks of answers."""

    def __init__(self) -> None:
        self._decoder = Decoder(MAX_BLOCK_BYTES)
        self._decoder.max_allowed_table_size = self._decoder.header_table_size = 0
        self._known: dict[bytes, Mapping[str, str]] = {}

    def headers(self, block: bytes) -> Mapping[str, str]:
        known = self._known.get(block)
        if known is None:
            try:
                known = {str(name): str(value) for name, value in self._decoder.decode(block)}
            except (HPACKError, UnicodeDecodeError) as error:
                raise ProtocolError(f"headers that cannot be read: {error}") from error
            if len(self._known) >= MAX_BLOCKS:
                self._known.clear()
            self._known[block] = known
        return known


def refused(headers: Mapping[str, str]) -> Ended | None:
    """What the first headers of an answer say against it; None when it goes on."""
    status = headers.get(":status", "")
    if status == "200" and headers.get("content-type", "").startswith("application/grpc"):
        return None
    return Ended(grpc.StatusCode.UNAVAILABLE, f"it answered like no etcd (HTTP status {status or 'missing'})")


def ended(headers: Mapping[str, str]) -> Ended:
    """What the last headers of an answer say."""
    status = headers.get("grpc-status", "")
    if not status.isdecimal():
        return Ended(grpc.StatusCode.UNKNOWN, "the answer ended without a status")
    return Ended(_CODES.get(int(status), grpc.StatusCode.UNKNOWN), unquote(headers.get("grpc-message", "")))
