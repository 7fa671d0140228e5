"""One side of a SPDY/3.1 connection, without I/O: bytes in, events out; calls in, bytes out.

It is the dialect of Kubernetes' clients (moby/spdystream): windows are neither kept nor granted. Their library knows none: one that waited
for its updates would wait for ever, and what is not read holds back the whole connection, as TCP does. So WINDOW_UPDATE and SETTINGS are
understood and change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from knarr.service.spdy.errors import StreamClosed
from knarr.service.spdy.frames import (
    CANCEL,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    Data,
    Frame,
    FrameDecoder,
    FrameEncoder,
    GoAway,
    Headers,
    Ping,
    RstStream,
    SynReply,
    SynStream,
)

# Open at once: 256 forwarded connections, of two streams each. More are refused, one by one.
STREAMS = 512
# A larger piece would hold the other streams up.
FRAME_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Opened:
    """The peer opened a stream."""

    stream: int
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Replied:
    """The peer took a stream that was opened here."""

    stream: int
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Received:
    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Finished:
    """The peer sends nothing more on a stream."""

    stream: int


@dataclass(frozen=True, slots=True)
class Broken:
    """The peer gave a stream up."""

    stream: int
    status: int


@dataclass(frozen=True, slots=True)
class Left:
    """The peer opens no more streams, and takes none."""


Event = Opened | Replied | Received | Finished | Broken | Left


@dataclass(slots=True)
class _State:
    """What may still be sent on a stream, from here and from there."""

    here: bool = True
    there: bool = True


class Connection:
    """``client`` says which side this is: a client's streams and pings have odd numbers."""

    def __init__(self, *, client: bool = False, streams: int = STREAMS) -> None:
        self._decoder, self._encoder = FrameDecoder(), FrameEncoder()
        self._most = streams
        self._open: dict[int, _State] = {}
        self._next = 1 if client else 2
        self._last_of_peer = 0
        self._leaving = False
        self._out: list[bytes] = []

    def take(self) -> bytes:
        """What is to be sent, once."""
        data, self._out = b"".join(self._out), []
        return data

    def receive(self, data: bytes) -> Iterator[Event]:
        """What the peer says; to be read to its end. Raises ProtocolViolation, after which nothing can be received."""
        for frame in self._decoder.feed(data):
            yield from self._heard(frame)

    def _heard(self, frame: Frame) -> Iterator[Event]:
        match frame:
            case Data(stream, data, fin):
                state = self._open.get(stream)
                # What was on its way when its stream was given up is nobody's.
                if state is not None and state.there:
                    if data:
                        yield Received(stream, data)
                    yield from self._finished(stream, fin)
            case SynStream(stream):
                yield from self._opened(frame)
            case SynReply(stream, headers, fin) if stream in self._open:
                yield Replied(stream, headers)
                yield from self._finished(stream, fin)
            case Headers(stream, _, fin) if stream in self._open:
                yield from self._finished(stream, fin)
            case RstStream(stream, status) if self._open.pop(stream, None) is not None:
                yield Broken(stream, status)
            case Ping(number) if (number - self._next) % 2:
                self._say(frame)
            case GoAway():
                yield Left()

    def _opened(self, frame: SynStream) -> Iterator[Event]:
        stream = frame.stream
        if stream <= self._last_of_peer or not (stream - self._next) % 2:
            self._say(RstStream(stream, PROTOCOL_ERROR))
            return
        self._last_of_peer = stream
        if len(self._open) >= self._most or self._leaving:
            self._say(RstStream(stream, REFUSED_STREAM))
            return
        self._open[stream] = _State(here=not frame.unidirectional)
        yield Opened(stream, frame.headers)
        yield from self._finished(stream, frame.fin)

    def _finished(self, stream: int, fin: bool) -> Iterator[Event]:
        state = self._open.get(stream)
        if fin and state is not None and state.there:
            state.there = False
            self._forget(stream, state)
            yield Finished(stream)

    def is_open(self, stream: int) -> bool:
        """Whether one side may still send on it."""
        return stream in self._open

    def open(self, headers: Mapping[str, str], *, fin: bool = False) -> int:
        """Opens a stream and answers its number."""
        stream, self._next = self._next, self._next + 2
        self._open[stream] = _State(here=not fin)
        self._say(SynStream(stream, headers, fin))
        return stream

    def reply(self, stream: int, headers: Mapping[str, str] | None = None) -> None:
        """Takes a stream that the peer opened, before anything is sent on it."""
        if stream in self._open:
            self._say(SynReply(stream, headers or {}))

    def send(self, stream: int, data: bytes, *, fin: bool = False) -> None:
        """Raises StreamClosed when nothing can be sent on the stream any more."""
        state = self._open.get(stream)
        if state is None or not state.here:
            raise StreamClosed(f"stream {stream} is closed")
        for begin in range(0, len(data), FRAME_BYTES):
            piece = data[begin : begin + FRAME_BYTES]
            self._say(Data(stream, piece, fin and begin + len(piece) == len(data)))
        if fin:
            if not data:
                self._say(Data(stream, b"", True))
            state.here = False
            self._forget(stream, state)

    def reset(self, stream: int, status: int = CANCEL) -> None:
        """Gives a stream up; one that is closed already stays so."""
        if self._open.pop(stream, None) is not None:
            self._say(RstStream(stream, status))

    def ping(self, number: int) -> None:
        self._say(Ping(number))

    def leave(self) -> None:
        """Says that no more streams are taken."""
        if not self._leaving:
            self._leaving = True
            self._say(GoAway(self._last_of_peer))

    def _forget(self, stream: int, state: _State) -> None:
        if not (state.here or state.there):
            del self._open[stream]

    def _say(self, frame: Frame) -> None:
        self._out.append(self._encoder.encode(frame))
