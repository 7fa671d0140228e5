"""The two sorts of calls on a connection: a question with one answer, and a stream of answers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import grpc

from services.apiserver.storage.wire import frames
from services.apiserver.storage.wire.frames import Ended

# What a call may send us ahead of its reader. A question's answer is bounded by its length, a stream by what waits unread.
STREAM_WINDOW_BYTES = 4 * 1024 * 1024
RECEIVED_TOO_MUCH = "Received message larger than max"


class CallError(grpc.aio.AioRpcError):
    """A call without an answer, in gRPC's codes. ``unsent``: the peer never took it up, nor will it."""

    def __init__(self, code: grpc.StatusCode, details: str, *, unsent: bool = False) -> None:
        super().__init__(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)
        self.unsent = unsent


class Call:
    """One call, as its connection sees it. ``number`` is 0 until it is sent; ``window`` is what the peer takes yet.

    What is left to send is ``body``; ``open`` says that we do not end our side. ``owed`` is what came and was not granted anew.
    """

    __slots__ = ("_head", "_limit", "_parts", "_wanted", "block", "body", "deadline", "number", "open", "owed", "window")

    def __init__(self, block: bytes, body: bytes, limit: int, deadline: float, *, is_open: bool) -> None:
        self.block, self.body, self.deadline, self.open = block, memoryview(body), deadline, is_open
        self.number = self.window = self.owed = 0
        self._limit = limit
        self._head = b""
        self._wanted = -1
        self._parts: list[bytes] = []

    def receive(self, data: bytes) -> None:
        """Takes a piece of the answer. Raises CallError for a message that is larger than it may be, ProtocolError."""
        length = len(data) - frames.MESSAGE_HEAD
        # Most often a piece is one message.
        if length >= 0 and self._wanted < 0 and not self._head and length == frames.message_length(data):
            self._checked(length)
            self._take(data[frames.MESSAGE_HEAD :])
            return
        while data:
            if self._wanted < 0:
                missing = frames.MESSAGE_HEAD - len(self._head)
                self._head, data = self._head + data[:missing], data[missing:]
                if len(self._head) < frames.MESSAGE_HEAD:
                    return
                self._wanted = self._checked(frames.message_length(self._head))
                self._head = b""
            piece, data = data[: self._wanted], data[self._wanted :]
            self._parts.append(piece)
            self._wanted -= len(piece)
            if self._wanted == 0:
                whole, self._parts, self._wanted = b"".join(self._parts), [], -1
                self._take(whole)

    def _checked(self, length: int) -> int:
        if length > self._limit:
            raise CallError(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{RECEIVED_TOO_MUCH} ({length} vs. {self._limit})")
        return length

    @property
    def hungry(self) -> bool:
        """Whether the peer may send more."""
        return True

    def _take(self, message: bytes) -> None:
        raise NotImplementedError

    def end(self, error: CallError | None) -> None:
        """The call is over: as it should be, or by an error."""
        raise NotImplementedError


class Single(Call):
    """A call with one answer, which is the future's result."""

    __slots__ = ("_answer", "future")

    def __init__(self, block: bytes, body: bytes, limit: int, deadline: float, future: asyncio.Future[bytes]) -> None:
        super().__init__(block, body, limit, deadline, is_open=False)
        self.future = future
        self._answer: bytes | None = None

    def _take(self, message: bytes) -> None:
        self._answer = message

    def end(self, error: CallError | None) -> None:
        if self.future.done():
            return
        if error is None and self._answer is None:
            error = CallError(grpc.StatusCode.UNKNOWN, "the call ended without its answer")
        if error is not None:
            self.future.set_exception(error)
        elif self._answer is not None:
            self.future.set_result(self._answer)


class Stream(Call):
    """A call with answers until it ends; we leave our side open."""

    __slots__ = ("_error", "_messages", "_reader", "_waiting", "on_read")

    def __init__(self, block: bytes, body: bytes, limit: int) -> None:
        super().__init__(block, body, limit, float("inf"), is_open=True)
        self._messages: deque[bytes] = deque()
        self._waiting = 0
        self._error: CallError | None = None
        self._reader: asyncio.Future[None] | None = None
        # Told each time that there is room again.
        self.on_read: Callable[[Call], None] | None = None

    @property
    def hungry(self) -> bool:
        return self._waiting < STREAM_WINDOW_BYTES

    @property
    def over(self) -> bool:
        return self._error is not None

    def _take(self, message: bytes) -> None:
        self._messages.append(message)
        self._waiting += len(message)
        self._wake()

    def end(self, error: CallError | None) -> None:
        if self._error is None:
            self._error = error or CallError(grpc.StatusCode.UNAVAILABLE, "the stream ended")
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def next(self) -> bytes:
        """The next answer; raises CallError when there is none any more."""
        while not self._messages:
            if self._error is not None:
                raise self._error
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        message = self._messages.popleft()
        self._waiting -= len(message)
        if self.owed and self.on_read is not None:
            self.on_read(self)
        return message


def broken(ended: Ended) -> CallError | None:
    """How a call ended, as an error; None if it went well."""
    return None if ended.code is grpc.StatusCode.OK else CallError(ended.code, ended.details)
