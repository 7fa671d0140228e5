"""The way to one member of etcd: connects when somebody asks, again and again, and carries calls once it is connected."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Generic, NamedTuple, TypeVar

import grpc
from google.protobuf.message import Message

from services.apiserver.storage.wire import frames
from services.apiserver.storage.wire.session import Session
from services.apiserver.storage.wire.streams import CallError, Single, Stream

M = TypeVar("M", bound=Message)

# Further headers of a call.
Metadata = tuple[tuple[str, str], ...]
# Between attempts to connect, and what one of them gets.
FIRST_PAUSE_SECONDS, PAUSE_SECONDS, CONNECT_SECONDS = 0.1, 1.0, 3.0
AUTHORITY = "localhost"
CLOSED = "the connection was closed"


class Address(NamedTuple):
    """Where a member listens: a host and a port, or the path of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""


class Tls(NamedTuple):
    """By what it is spoken to, and whom its certificate must name."""

    context: ssl.SSLContext
    server_name: str


class Limits(NamedTuple):
    """What one answer may have; how long a silent connection is left alone that owes one, and how long it gets then to show itself."""

    message_bytes: int
    ping_seconds: float
    answer_seconds: float


class Channel:
    """Made inside a running event loop; ``close`` ends it."""

    def __init__(self, address: Address, tls: Tls | None, limits: Limits) -> None:
        self._address, self._tls, self._limits = address, tls, limits
        self.loop = asyncio.get_running_loop()
        self._session: Session | None = None
        self._sessions: set[Session] = set()
        self._connecting: asyncio.Task[None] | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._why = "it was not reached yet"
        self._attempts = 0
        self._closed = False

    @property
    def usable(self) -> Session | None:
        """The connection, if calls can be sent now; if not, one is attempted."""
        if self._session is None:
            self._connect()
        return self._session

    def question(self, path: str, answer: type[M]) -> Question[M]:
        """A method of etcd's that has one answer."""
        return Question(self, path, answer)

    def stream(self, path: str, request: Message, metadata: Metadata) -> AnswerStream:
        """A call that has many; it is not sent yet."""
        return AnswerStream(self, Stream(self.headers(path, metadata), frames.message(request.SerializeToString()), self.message_bytes))

    def headers(self, path: str, metadata: Metadata) -> bytes:
        return frames.request_block("http" if self._tls is None else "https", AUTHORITY, path, metadata)

    @property
    def message_bytes(self) -> int:
        return self._limits.message_bytes

    async def session(self, deadline: float) -> Session:
        """The connection, once there is one. Raises CallError."""
        while self._session is None:
            if self._closed:
                raise CallError(grpc.StatusCode.UNAVAILABLE, CLOSED, unsent=True)
            self._connect()
            waiter: asyncio.Future[None] = self.loop.create_future()
            self._waiting.append(waiter)
            try:
                async with asyncio.timeout_at(deadline):
                    await waiter
            except TimeoutError:
                raise CallError(grpc.StatusCode.DEADLINE_EXCEEDED, self._why, unsent=True) from None
            finally:
                self._waiting.remove(waiter)
        return self._session

    async def close(self, grace_seconds: float = 0.0) -> None:
        """Takes no calls any more; those under way get ``grace_seconds``."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        self._wake()
        end = self.loop.time() + grace_seconds
        while self.loop.time() < end and any(session.busy for session in self._sessions):  # noqa: ASYNC110
            await asyncio.sleep(min(FIRST_PAUSE_SECONDS, grace_seconds))
        for session in list(self._sessions):
            session.close()

    def _connect(self) -> None:
        if (self._connecting is None or self._connecting.done()) and not self._closed:
            self._connecting = asyncio.create_task(self._try(), name="etcd/connect")

    async def _try(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    session = await self._open()
                    self._sessions.add(session)
                    try:
                        await session.ready
                    except BaseException:
                        session.close()
                        raise
                if session.usable:
                    break
            except (OSError, ValueError) as error:
                self._why = str(error) or "it did not answer in time"
            await asyncio.sleep(pause)
            pause = min(2 * pause, PAUSE_SECONDS)
        self._session = session
        self._wake()

    async def _open(self) -> Session:
        def make() -> Session:
            limits = self._limits
            return Session(self._retired, self._sessions.discard, ping_seconds=limits.ping_seconds, answer_seconds=limits.answer_seconds)

        address, loop = self._address, self.loop
        if address.path:
            return (await loop.create_unix_connection(make, address.path))[1]
        context, name = self._tls or (None, None)
        # A name may have several addresses, of which one leads nowhere: each attempt takes the next one.
        found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        host = str(found[self._attempts % len(found)][4][0])
        self._attempts += 1
        return (await loop.create_connection(make, host, address.port, ssl=context, server_hostname=name))[1]

    def _retired(self, session: Session) -> None:
        if session is self._session:
            self._session = None

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)


class Question(Generic[M]):
    """A method with one answer."""

    def __init__(self, channel: Channel, path: str, answer: type[M]) -> None:
        self._channel, self._path, self._answer = channel, path, answer
        self._headers: dict[Metadata, bytes] = {}

    async def ask(self, request: Message, timeout_seconds: float, metadata: Metadata = ()) -> M:
        """The answer; connecting takes of the time too. Raises CallError."""
        channel = self._channel
        loop = channel.loop
        headers = self._headers.get(metadata)
        if headers is None:
            headers = self._headers[metadata] = channel.headers(self._path, metadata)
        deadline = loop.time() + timeout_seconds
        session = channel.usable or await channel.session(deadline)
        future: asyncio.Future[bytes] = loop.create_future()
        call = Single(headers, frames.message(request.SerializeToString()), channel.message_bytes, deadline, future)
        session.send(call)
        try:
            return self._answer.FromString(await future)
        except asyncio.CancelledError:
            session.cancel(call)
            raise


class AnswerStream:
    """A call with many answers: ``open`` it, then iterate. Raises CallError, also when the peer ends it as it should be."""

    def __init__(self, channel: Channel, stream: Stream) -> None:
        self._channel, self._stream = channel, stream
        self._session: Session | None = None

    async def open(self, timeout_seconds: float) -> None:
        """Sends it; within the time there must be a connection."""
        session = await self._channel.session(asyncio.get_running_loop().time() + timeout_seconds)
        if not self._stream.over:
            self._session = session
            session.send(self._stream)

    def cancel(self) -> None:
        """Ends it, also for who waits for its next answer."""
        if self._session is not None:
            self._session.cancel(self._stream)
        self._stream.end(CallError(grpc.StatusCode.CANCELLED, "it was given up"))

    def __aiter__(self) -> AnswerStream:
        return self

    async def __anext__(self) -> bytes:
        return await self._stream.next()
