"""Frames of SPDY/3.1 as bytes, and bytes as frames. Pure: no socket, no clock.

Draft 3.1 of the SPDY protocol, section 2.2 and 2.6. A data frame is passed on before it is complete, so that its size (up to 16 MiB) costs
no memory; a control frame is bounded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from knarr.service.spdy.errors import ProtocolViolation
from knarr.service.spdy.headers import HeaderPacker, HeaderUnpacker

VERSION = 3
FIN, UNIDIRECTIONAL = 0x01, 0x02
# Status codes of RST_STREAM.
PROTOCOL_ERROR, INVALID_STREAM, REFUSED_STREAM, CANCEL = 1, 2, 3, 5
CONTROL_BYTES = 64 * 1024

_HEAD = struct.Struct(">II")
_NUMBER = struct.Struct(">I")
_PAIR = struct.Struct(">II")
_OPENING = struct.Struct(">IIH")
_CONTROL, _ID, _LENGTH = 0x80000000, 0x7FFFFFFF, 0x00FFFFFF


class Kind(IntEnum):
    """Of control frames; others there are, and none of them is needed."""

    SYN_STREAM = 1
    SYN_REPLY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    HEADERS = 8
    WINDOW_UPDATE = 9


@dataclass(frozen=True, slots=True)
class SynStream:
    """A stream is opened; with ``fin`` its opener sends nothing on it, with ``unidirectional`` the other side."""

    stream: int
    headers: Mapping[str, str] = field(default_factory=dict)
    fin: bool = False
    unidirectional: bool = False
    associated: int = 0
    priority: int = 0


@dataclass(frozen=True, slots=True)
class SynReply:
    stream: int
    headers: Mapping[str, str] = field(default_factory=dict)
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Headers:
    stream: int
    headers: Mapping[str, str] = field(default_factory=dict)
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a stream; of a large frame a piece, and only the last one has its ``fin``."""

    stream: int
    data: bytes
    fin: bool = False


@dataclass(frozen=True, slots=True)
class RstStream:
    stream: int
    status: int


@dataclass(frozen=True, slots=True)
class Settings:
    """Values by their number."""

    values: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Ping:
    number: int


@dataclass(frozen=True, slots=True)
class GoAway:
    last_good_stream: int
    status: int = 0


@dataclass(frozen=True, slots=True)
class WindowUpdate:
    stream: int
    delta: int


Frame = SynStream | SynReply | Headers | Data | RstStream | Settings | Ping | GoAway | WindowUpdate


class FrameEncoder:
    """Frames of one direction as bytes, in the order in which they are sent."""

    def __init__(self) -> None:
        self._headers = HeaderPacker()

    def encode(self, frame: Frame) -> bytes:
        match frame:
            case Data(stream, data, fin):
                return _HEAD.pack(stream & _ID, fin << 24 | len(data)) + data
            case SynStream(stream, headers, fin, unidirectional, associated, priority):
                flags = FIN * fin | UNIDIRECTIONAL * unidirectional
                return _control(Kind.SYN_STREAM, flags, _OPENING.pack(stream, associated, priority << 13) + self._headers.pack(headers))
            case SynReply(stream, headers, fin):
                return _control(Kind.SYN_REPLY, FIN * fin, _NUMBER.pack(stream) + self._headers.pack(headers))
            case Headers(stream, headers, fin):
                return _control(Kind.HEADERS, FIN * fin, _NUMBER.pack(stream) + self._headers.pack(headers))
            case RstStream(stream, status):
                return _control(Kind.RST_STREAM, 0, _PAIR.pack(stream, status))
            case Settings(values):
                return _control(Kind.SETTINGS, 0, _NUMBER.pack(len(values)) + b"".join(_PAIR.pack(*item) for item in values.items()))
            case Ping(number):
                return _control(Kind.PING, 0, _NUMBER.pack(number))
            case GoAway(last_good_stream, status):
                return _control(Kind.GOAWAY, 0, _PAIR.pack(last_good_stream, status))
            case WindowUpdate(stream, delta):
                return _control(Kind.WINDOW_UPDATE, 0, _PAIR.pack(stream, delta))


def _control(kind: int, flags: int, payload: bytes) -> bytes:
    return _HEAD.pack(_CONTROL | VERSION << 16 | kind, flags << 24 | len(payload)) + payload


class FrameDecoder:
    """Bytes of one direction as frames; bytes may come in any pieces."""

    def __init__(self) -> None:
        self._headers = HeaderUnpacker()
        # What is not complete yet, and how many bytes it must have before it is looked at again.
        self._kept, self._needed = bytearray(), 0
        # Of the data frame that is being received: its stream, whether it is the last one, and how many bytes are to come.
        self._stream, self._fin, self._left = 0, False, 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete now, and pieces of data frames. Raises ProtocolViolation; it must be read to its end."""
        if self._kept:
            self._kept += data
            if len(self._kept) < self._needed:
                return
            data, self._kept = bytes(self._kept), bytearray()
        position, end = 0, len(data)
        while True:
            if self._left:
                piece = data[position : position + self._left]
                if not piece:
                    return
                position, self._left = position + len(piece), self._left - len(piece)
                yield Data(self._stream, piece, self._fin and not self._left)
                continue
            if end - position < _HEAD.size:
                self._needed = _HEAD.size
                break
            word, length = _HEAD.unpack_from(data, position)
            flags, length = length >> 24, length & _LENGTH
            if not word & _CONTROL:
                position += _HEAD.size
                self._stream, self._fin, self._left = word, bool(flags & FIN), length
                if not length:
                    yield Data(word, b"", self._fin)
                continue
            if length > CONTROL_BYTES:
                raise ProtocolViolation(f"a control frame has more than {CONTROL_BYTES} bytes")
            if end - position < _HEAD.size + length:
                self._needed = _HEAD.size + length
                break
            begin, position = position + _HEAD.size, position + _HEAD.size + length
            frame = self._control(word & ~_CONTROL, flags, data[begin:position])
            if frame is not None:
                yield frame
        self._kept += data[position:]

    def _control(self, word: int, flags: int, payload: bytes) -> Frame | None:
        """None for a kind that is not known, which is to be ignored."""
        version, kind = word >> 16, word & 0xFFFF
        if version != VERSION:
            raise ProtocolViolation(f"a frame is of SPDY version {version}, not {VERSION}")
        try:
            return self._known(kind, flags, payload)
        except struct.error as error:
            raise ProtocolViolation(f"a control frame of kind {kind} is too short") from error

    def _known(self, kind: int, flags: int, payload: bytes) -> Frame | None:
        fin = bool(flags & FIN)
        match kind:
            case Kind.SYN_STREAM:
                stream, associated, priority = _OPENING.unpack_from(payload)
                headers = self._headers.unpack(payload[_OPENING.size :])
                return SynStream(stream & _ID, headers, fin, bool(flags & UNIDIRECTIONAL), associated & _ID, priority >> 13)
            case Kind.SYN_REPLY | Kind.HEADERS:
                (stream,) = _NUMBER.unpack_from(payload)
                reply = SynReply if kind == Kind.SYN_REPLY else Headers
                return reply(stream & _ID, self._headers.unpack(payload[_NUMBER.size :]), fin)
            case Kind.RST_STREAM:
                stream, status = _PAIR.unpack(payload)
                return RstStream(stream & _ID, status)
            case Kind.SETTINGS:
                return _settings(payload)
            case Kind.PING:
                return Ping(*_NUMBER.unpack(payload))
            case Kind.GOAWAY:
                stream, status = _PAIR.unpack(payload)
                return GoAway(stream & _ID, status)
            case Kind.WINDOW_UPDATE:
                stream, delta = _PAIR.unpack(payload)
                return WindowUpdate(stream & _ID, delta & _ID)
        return None


def _settings(payload: bytes) -> Settings:
    (count,) = _NUMBER.unpack_from(payload)
    if len(payload) != _NUMBER.size + count * _PAIR.size:
        raise ProtocolViolation("the settings are not as many as they say")
    return Settings({number & _LENGTH: value for number, value in _PAIR.iter_unpack(payload[_NUMBER.size :])})
