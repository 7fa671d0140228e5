"""One HTTP/2 connection to a member of etcd, in the event loop: many calls at the same time, one order.

What a turn of the loop brings together leaves in one write: that costs less here and there, and etcd logs together what comes together.
A call that waits for the peer's permission (its window) waits in line.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import grpc

from services.apiserver.storage.wire import frames
from services.apiserver.storage.wire.frames import Frame, ProtocolError
from services.apiserver.storage.wire.streams import STREAM_WINDOW_BYTES, Call, CallError, Stream, broken

# What all calls together may send us before we grant more; so large that a stream that is not read holds up nobody else.
CONNECTION_WINDOW_BYTES = 512 * 1024 * 1024
OFFER = frames.settings(
    {frames.HEADER_TABLE_SIZE: 0, frames.ENABLE_PUSH: 0, frames.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES},
)
# Calls under way are looked at when the first of them is due, but not more often than so.
SWEEP_SECONDS = 0.01
# Calls are numbered; a connection that has no number left takes no new ones.
LAST_NUMBER = frames.LIMIT


class Session(asyncio.Protocol):
    """``ready`` is set once the peer has shown that it speaks HTTP/2; ``retired`` is called once, when it takes no new calls any more,
    ``over`` when nothing is left of it."""

    def __init__(
        self, retired: Callable[[Session], None], over: Callable[[Session], None], *, ping_seconds: float, answer_seconds: float
    ) -> None:
        self._retired: Callable[[Session], None] | None = retired
        self._over = over
        self._ping_seconds, self._answer_seconds = ping_seconds, answer_seconds
        self._loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self._transport: Any = None
        self._leaving: list[bytes | memoryview] = []
        self._frames, self._answers = frames.Frames(), frames.Answers()
        self._calls: dict[int, Call] = {}
        self._line: deque[Call] = deque()
        self._next = 1
        self._window = self._initial_window = frames.DEFAULT_WINDOW
        self._most = frames.LIMIT
        self._owed = 0
        # The headers that go on in the next frame: their stream, whether it ends with them, and what came.
        self._block: tuple[int, bool, bytes] | None = None
        self._heard = 0.0
        self._pinged = False
        self._pinging: asyncio.TimerHandle | None = None
        self._sweeping: asyncio.Handle | None = None
        # When it is due, on the loop's clock. uvloop's own handle does not tell of a time that has come.
        self._sweep_at = 0.0
        self._why = "the connection was closed"

    # Calls

    def send(self, call: Call) -> None:
        """Begins a call; it is told its end."""
        if isinstance(call, Stream):
            call.on_read = self._grant
        self._line.append(call)
        self._advance()
        self._watch_deadline(call.deadline)

    def cancel(self, call: Call) -> None:
        """Lets go of a call: the peer is told, if it knows of it. Its end is not told any more."""
        if call in self._line:
            self._line.remove(call)
        if call.number and self._calls.pop(call.number, None) is not None:
            self._write(frames.reset(call.number, frames.CANCEL))
            self._advance()
        self._close_if_over()

    def close(self) -> None:
        """Ends the connection and all calls on it."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def busy(self) -> bool:
        """Whether a call is under way."""
        return bool(self._calls or self._line)

    @property
    def usable(self) -> bool:
        """Whether it takes new calls."""
        return self._retired is not None

    def _write(self, data: bytes | memoryview) -> None:
        if not self._leaving:
            self._loop.call_soon(self._flush)
        self._leaving.append(data)

    def _flush(self) -> None:
        leaving, self._leaving = self._leaving, []
        if leaving and not self._transport.is_closing():
            self._transport.write(b"".join(leaving))

    def _advance(self) -> None:
        """Sends what the peer takes, in the order in which it was asked; a call that waits for its own window holds up no other."""
        for call in list(self._line):
            if not call.number:
                if len(self._calls) >= self._most or not self.usable:
                    return
                self._begin(call)
            self._send_body(call)
            if not call.body:
                self._line.remove(call)
            if self._window <= 0:
                return

    def _begin(self, call: Call) -> None:
        call.number, self._next = self._next, self._next + 2
        call.window = self._initial_window
        self._calls[call.number] = call
        self._write(frames.frame(frames.HEADERS, frames.END_HEADERS, call.number, call.block))
        if self._next > LAST_NUMBER:
            self._retire("it has no numbers left")
            self._refuse_late(LAST_NUMBER)

    def _send_body(self, call: Call) -> None:
        """As much of a message as both windows let through."""
        while call.body and (size := min(len(call.body), self._window, call.window, frames.DEFAULT_FRAME_BYTES)) > 0:
            piece, call.body = call.body[:size], call.body[size:]
            self._window -= size
            call.window -= size
            self._write(frames.head(size, frames.DATA, 0 if call.body or call.open else frames.END_STREAM, call.number))
            self._write(piece)

    def _refuse_late(self, last: int) -> None:
        """Ends the calls that the peer did not take up: those with numbers above ``last``, and those that have none yet."""
        late = [call for number, call in self._calls.items() if number > last]
        late += [call for call in self._line if not call.number]
        for call in late:
            self._calls.pop(call.number, None)
            if call in self._line:
                self._line.remove(call)
            call.end(CallError(grpc.StatusCode.UNAVAILABLE, self._why, unsent=True))

    # Deadlines

    def _watch_deadline(self, deadline: float) -> None:
        """One timer for all calls."""
        timer = self._sweeping
        if deadline < frames.LIMIT and (timer is None or self._sweep_at > deadline + SWEEP_SECONDS):
            if timer is not None:
                timer.cancel()
            self._sweeping, self._sweep_at = self._loop.call_at(deadline, self._sweep), deadline

    def _sweep(self) -> None:
        self._sweeping = None
        now = self._loop.time()
        running = [*self._calls.values(), *(call for call in self._line if not call.number)]
        for call in running:
            if call.deadline <= now:
                unsent = not call.number
                self.cancel(call)
                call.end(CallError(grpc.StatusCode.DEADLINE_EXCEEDED, "no answer came in time", unsent=unsent))
        left = min((call.deadline for call in running if call.deadline > now), default=frames.LIMIT)
        self._watch_deadline(max(left, now + SWEEP_SECONDS))

    # The connection

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._write(frames.PREFACE + OFFER + frames.window_update(0, CONNECTION_WINDOW_BYTES - frames.DEFAULT_WINDOW))
        self._heard = self._loop.time()
        self._pinging = self._loop.call_later(self._ping_seconds, self._ping)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._pinging, self._sweeping):
            if timer is not None:
                timer.cancel()
        self._retire(str(exc) if exc is not None else self._why)
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(self._why))
        calls, line, self._calls, self._line = list(self._calls.values()), list(self._line), {}, deque()
        for call in calls:
            call.end(CallError(grpc.StatusCode.UNAVAILABLE, self._why))
        for call in line:
            call.end(CallError(grpc.StatusCode.UNAVAILABLE, self._why, unsent=not call.number))
        self._over(self)

    def _retire(self, why: str) -> None:
        """Takes no new calls; those under way go on."""
        self._why = why
        retired, self._retired = self._retired, None
        if retired is not None:
            retired(self)

    def _close_if_over(self) -> None:
        if self._retired is None and not self.busy and self._transport is not None:
            self._flush()
            self._transport.close()

    def _ping(self) -> None:
        """Asks a peer that owes an answer and says nothing whether it is there; a member of etcd takes it amiss otherwise."""
        silent = self._loop.time() - self._heard
        if self._pinged:
            self._why = f"it did not answer within {self._answer_seconds:g} s"
            self._transport.abort()
            return
        if silent < self._ping_seconds or not self._calls:
            wait = max(self._ping_seconds - silent, 0.0) if self._calls else self._ping_seconds
            self._pinging = self._loop.call_later(max(wait, SWEEP_SECONDS), self._ping)
            return
        self._pinged = True
        self._write(frames.frame(frames.PING, 0, 0, bytes(8)))
        self._pinging = self._loop.call_later(self._answer_seconds, self._ping)

    # What comes

    def data_received(self, data: bytes) -> None:
        self._heard, self._pinged = self._loop.time(), False
        try:
            for found in self._frames.feed(bytes(data)):
                self._receive(found)
        except ProtocolError as error:
            self._why = f"it broke the protocol: {error}"
            self._transport.abort()

    def _receive(self, found: Frame) -> None:
        kind = found.kind
        if self._block is not None and kind != frames.CONTINUATION:
            raise ProtocolError("headers that do not go on")
        if not self.ready.done():
            if kind != frames.SETTINGS:
                raise ProtocolError("it does not begin with its settings")
            self.ready.set_result(None)
        if kind == frames.DATA:
            self._receive_data(found)
        elif kind == frames.HEADERS:
            self._receive_headers(found, bool(found.flags & frames.END_STREAM), b"", frames.unpadded(found))
        elif kind == frames.WINDOW_UPDATE:
            self._receive_window(found)
        elif kind == frames.PING:
            if not found.flags & frames.ACK:
                self._write(frames.frame(frames.PING, frames.ACK, 0, found.payload))
        elif kind == frames.RST_STREAM:
            self._receive_reset(found)
        elif kind == frames.SETTINGS:
            self._receive_settings(found)
        elif kind == frames.GOAWAY:
            self._receive_goaway(found)
        elif kind == frames.CONTINUATION:
            if self._block is None or self._block[0] != found.stream:
                raise ProtocolError("headers that go on without a beginning")
            _, ends, begun = self._block
            self._receive_headers(found, ends, begun, found.payload)
        elif kind == frames.PUSH_PROMISE:
            raise ProtocolError("it pushes what was not asked for")

    def _receive_data(self, found: Frame) -> None:
        size = len(found.payload)
        self._owed += size
        if self._owed >= CONNECTION_WINDOW_BYTES // 2:
            self._write(frames.window_update(0, self._owed))
            self._owed = 0
        call = self._calls.get(found.stream)
        if call is None:
            return
        try:
            call.receive(frames.unpadded(found) if found.flags & frames.PADDED else found.payload)
        except CallError as error:
            self.cancel(call)
            call.end(error)
            return
        if found.flags & frames.END_STREAM:
            self._finish(call, CallError(grpc.StatusCode.UNKNOWN, "the answer ended without a status"))
            return
        call.owed += size
        self._grant(call)

    def _grant(self, call: Call) -> None:
        """Lets the peer send on, a good piece at a time."""
        if call.owed >= STREAM_WINDOW_BYTES // 2 and call.hungry and call.number in self._calls:
            self._write(frames.window_update(call.number, call.owed))
            call.owed = 0

    def _receive_headers(self, found: Frame, ends: bool, begun: bytes, more: bytes) -> None:
        block = begun + more
        if len(block) > frames.MAX_BLOCK_BYTES:
            raise ProtocolError(f"headers of more than {frames.MAX_BLOCK_BYTES} bytes")
        if not found.flags & frames.END_HEADERS:
            self._block = found.stream, ends, block
            return
        self._block = None
        headers = self._answers.headers(block)
        call = self._calls.get(found.stream)
        if call is None:
            return
        refusal = frames.refused(headers) if ":status" in headers else None
        if ends:
            self._finish(call, broken(refusal or frames.ended(headers)))
        elif refusal is not None:
            self.cancel(call)
            call.end(broken(refusal))

    def _finish(self, call: Call, error: CallError | None) -> None:
        """The peer has ended its side."""
        del self._calls[call.number]
        if call.open or call.body:
            # It takes no more of ours.
            self._write(frames.reset(call.number, frames.NO_ERROR))
            if call in self._line:
                self._line.remove(call)
        call.end(error)
        if self._line:
            self._advance()
        if self._retired is None:
            self._close_if_over()

    def _receive_reset(self, found: Frame) -> None:
        code = frames.number(found.payload)
        call = self._calls.pop(found.stream, None)
        if call is None:
            return
        if call in self._line:
            self._line.remove(call)
        unsent = code == frames.REFUSED_STREAM
        call.end(CallError(grpc.StatusCode.UNAVAILABLE, f"it broke the call off (HTTP/2 error {code})", unsent=unsent))
        self._advance()
        self._close_if_over()

    def _receive_window(self, found: Frame) -> None:
        more, call = frames.number(found.payload), self._calls.get(found.stream)
        if not found.stream:
            self._window += more
        elif call is not None:
            call.window += more
        if self._window > frames.LIMIT or (call is not None and call.window > frames.LIMIT):
            raise ProtocolError("a window that is too large")
        if self._line:
            self._advance()

    def _receive_settings(self, found: Frame) -> None:
        if found.flags & frames.ACK:
            return
        told = frames.read_settings(found.payload)
        window = told.get(frames.INITIAL_WINDOW_SIZE, self._initial_window)
        for call in self._calls.values():
            call.window += window - self._initial_window
        self._initial_window = window
        self._most = told.get(frames.MAX_CONCURRENT_STREAMS, self._most)
        self._write(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self._advance()

    def _receive_goaway(self, found: Frame) -> None:
        """It takes no new calls: those that it did not take up may be sent elsewhere."""
        last, code = frames.number(found.payload), frames.number(found.payload, 4)
        self._retire(f"it closes the connection (HTTP/2 error {code})")
        self._refuse_late(last)
        self._close_if_over()
