"""One HTTP request as the handlers see it."""

from __future__ import annotations

import asyncio
import math
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Protocol

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import StatusError, bad_request, status_error
from knarr.service.authentication import User
from services.apiserver.aside import aside
from services.apiserver.audit.bodies import Body, sent
from services.apiserver.deadline import finished
from services.apiserver.rest import negotiation
from services.apiserver.rest.query import Query

if TYPE_CHECKING:
    from knarr.service.pipe import Pipe
    from services.apiserver.audit.event import AuditEvent
    from services.apiserver.fairness.fairness import Ticket
    from services.apiserver.rest.routing import Target

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# The key of a request's state under which its ``Connection`` is, where there is one.
CONNECTION = "connection"
NOTHING: dict[str, Any] = {}
BODY_LIMIT_BYTES = 3 * 1024 * 1024
# Of a refused request so much is read and thrown away; if more is to come, the connection ends with the answer.
UNREAD_BYTES = 64 * 1024
# How long a client that sends on may take to read the answer with which its connection ends.
LINGER_SECONDS = 1.0
# How long a body may take to come.
BODY_SECONDS = 60.0
# What zlib calls the largest window with a header of gzip.
GZIP_WINDOW = 31
# A gzipped body is unpacked aside where so many times its size would be large.
UNPACKED_AT_ONCE = 8


class Connection(Protocol):
    """What a request may ask of the connection that it came by."""

    def greet(self, caller: str) -> None:
        """Tells the server who asks by the connection."""

    def go_on(self) -> None:
        """What is answered from now on goes on for as long as somebody listens."""

    def abort(self) -> None:
        """Drops the connection with whatever waits to be written to it."""

    def answer(self, head: bytes, body: bytes) -> bool:
        """Writes a whole answer to the request that is at work; False where it must go the way of all others."""

    def drained(self) -> Awaitable[None] | None:
        """None while the connection takes what is written, else what to wait for."""

    def is_gone(self) -> bool:
        """Whether it is closed, or about to be."""

    def has_left(self) -> bool:
        """Whether the client has closed its side, though that was perhaps not heard because nothing is read of it."""

    def upgrade(self, head: bytes) -> Pipe | None:
        """Gives the connection over, once it was asked to be upgraded; None where it was not."""

    def when_lost(self, callback: Callable[[], None] | None) -> None:
        """Calls ``callback`` once the client is gone, at once where it is; the one before is forgotten."""

    def hold(self) -> HeldConnection | None:
        """Takes the answer that has begun from its task, which may end, and gives it to the caller. None where that cannot be: more of the
        request is to come, or another one has come behind it."""


class HeldConnection(Protocol):
    """An answer that goes on until it is released."""

    def write(self, data: bytes) -> None:
        """Writes the next piece of the body, which is not empty; lost where the client is gone."""

    def release(self) -> None:
        """Ends the answer; the connection is for the next request."""

    def is_full(self) -> bool:
        """Whether it takes nothing more for now: then there is something to wait for in ``drained``."""

    def drained(self) -> Awaitable[None] | None:
        """None while the connection takes what is written, else what to wait for."""

    def when_lost(self, callback: Callable[[], None] | None) -> None:
        """Calls ``callback`` once the client is gone, at once where it is; the one before is forgotten."""

    def abort(self) -> None:
        """Drops the connection with whatever waits to be written to it."""


class Disconnected(Exception):
    """The client went away before its request was complete."""


class Request:
    """Method, path, headers and parameters are at hand; the body is read when asked for."""

    __slots__ = (
        "_connection",
        "_query",
        "_read",
        "_receive",
        "audit",
        "headers",
        "identity",
        "is_open",
        "marks",
        "method",
        "path",
        "scope",
        "target",
        "ticket",
        "user",
        "verb",
    )

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.method: str = scope.get("method", "GET")
        self.path: str = scope["raw_path"].decode("latin-1")
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self._connection: Connection | None = scope.get("state", NOTHING).get(CONNECTION)
        self.user = User.ANONYMOUS
        # What its client calls it, or the server.
        self.identity = b""
        # What the audit log keeps of it, and what it is about, for that alone.
        self.audit: AuditEvent | None = None
        self.target: Target | None = None
        # What is done to it, once that is known.
        self.verb = ""
        # What it was let in by, and whether it counts among its user's streams.
        self.ticket: Ticket | None = None
        self.is_open = False
        # Headers of the answer that are the server's own, as they are written.
        self.marks = b""
        self._receive = receive
        self._query: Query | None = None
        self._read = False

    @property
    def query(self) -> Query:
        if self._query is None:
            self._query = Query(self.scope["query_string"])
        return self._query

    @property
    def wanted(self) -> negotiation.Wanted:
        """Raises NotAcceptable."""
        return negotiation.wanted(self.headers.get(b"accept", b""))

    @property
    def content_type(self) -> bytes:
        return self.headers.get(b"content-type", b"")

    @property
    def agent(self) -> str:
        """What the client calls itself."""
        return self.headers.get(b"user-agent", b"").decode("latin-1")

    async def body(self) -> bytes:
        """The whole body, unpacked where it comes compressed; raises RequestEntityTooLarge beyond 3 MiB, without reading on,
        UnsupportedMediaType for other encodings than gzip. Drops a client that does not send it in time."""
        encoding = self.headers.get(b"content-encoding", b"identity").lower()
        if encoding not in (b"identity", b"gzip", b""):
            raise status_error("UnsupportedMediaType", "the body of the request has an unknown encoding: send it gzipped, or as it is")
        body = await self._sent()
        if encoding == b"gzip":
            body = await aside(UNPACKED_AT_ONCE * len(body), unpacked, body)
        if body and self.audit is not None and self.audit.wants_request:
            self.audit.sent(body_of(self, body, self.target))
        return body

    async def _sent(self) -> bytes:
        length = self.headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > BODY_LIMIT_BYTES:
            raise too_large()
        reading = self._read_body()
        try:
            first = reading.send(None)
        except StopIteration as done:
            # Most bodies are there with their heads.
            body: bytes = done.value
        else:
            # A connection that is dropped ends the reading with Disconnected; a timeout of its own would cost thrice as much.
            timer = asyncio.get_running_loop().call_later(BODY_SECONDS, self.abort)
            try:
                body = await finished(math.inf, reading, first, "the body")
            finally:
                timer.cancel()
        self._read = True
        return body

    async def _read_body(self) -> bytes:
        message = await self._receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            parts, size = [body], len(body)
            while message.get("more_body"):
                message = await self._receive()
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > BODY_LIMIT_BYTES:
                    raise too_large()
            body = b"".join(parts)
        if message["type"] == "http.disconnect":
            raise Disconnected
        if len(body) > BODY_LIMIT_BYTES:
            raise too_large()
        return body

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes, however large; raises Disconnected. What is not read holds the client back."""
        self._read, more = True, True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            yield message.get("body", b"")
            more = message.get("more_body", False)

    @property
    def leaves_much_unread(self) -> bool:
        """Whether more of a body may come than is worth waiting for, to use the connection again."""
        headers = self.headers
        if self._read:
            return False
        length = headers.get(b"content-length", b"")
        return b"transfer-encoding" in headers or b"expect" in headers or (length.isdigit() and int(length) > UNREAD_BYTES)

    def linger(self) -> None:
        """Drops the connection soon: until then, whatever still comes is read and thrown away."""
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self.abort)

    def abort(self) -> None:
        """Drops the connection with whatever waits to be written to it."""
        if (connection := self._connection) is not None:
            connection.abort()

    def greet(self, caller: str) -> None:
        """Tells the server who asks."""
        if (connection := self._connection) is not None:
            connection.greet(caller)

    def go_on(self) -> None:
        """What is answered from now on goes on for as long as somebody listens, and waits for no turns."""
        if (connection := self._connection) is not None:
            connection.go_on()

    def drained(self) -> Awaitable[None] | None:
        """None while the connection takes what is written, else what to wait for before more of it is made."""
        connection = self._connection
        return connection.drained() if connection is not None else None

    @property
    def is_gone(self) -> bool:
        """Whether the connection is closed, or about to be."""
        connection = self._connection
        return connection is not None and connection.is_gone()

    def has_left(self) -> bool:
        """Whether the client has closed its side, though that was perhaps not heard because nothing is read of it."""
        connection = self._connection
        return connection is not None and connection.has_left()

    def answer(self, head: bytes, body: bytes) -> bool:
        """Writes a whole answer in one piece; False where it must go the way of all others."""
        connection = self._connection
        return connection is not None and connection.answer(head, body)

    def when_lost(self, callback: Callable[[], None] | None) -> None:
        """Calls ``callback``, and no other, once the client is gone; who waits in ``disconnected`` instead needs a task for it."""
        if (connection := self._connection) is not None:
            connection.when_lost(callback)

    def hold(self) -> HeldConnection | None:
        """The connection, to write the rest of the answer to; None where it is not to be had."""
        connection = self._connection
        return connection.hold() if connection is not None else None

    @property
    def upgrade_to(self) -> str:
        """The protocol that the connection is asked to speak from now on, in lower-case letters; empty for a plain request."""
        if b"upgrade" not in self.headers or b"upgrade" not in self.headers.get(b"connection", b"").lower():
            return ""
        return self.headers[b"upgrade"].decode("latin-1").lower()

    def upgrade(self, head: bytes) -> Pipe:
        """Answers with ``head``, a whole one of status 101, and gives the connection over. Raises BadRequest where it was not asked for."""
        connection = self._connection
        pipe = connection.upgrade(head) if connection is not None else None
        if pipe is None:
            raise bad_request("Upgrade request required")
        return pipe

    async def disconnected(self) -> None:
        """Returns when the client is gone."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


def body_of(request: Request, raw: bytes, target: Target | None) -> Body:
    """What was sent, for the audit log."""
    message = target.version.body_of(target.subresource) if target is not None else None
    if request.method == "DELETE":
        message = meta.DeleteOptions
    return sent(raw, request.content_type.decode("latin-1"), message)


def unpacked(body: bytes) -> bytes:
    """What a gzipped body holds; raises BadRequest, RequestEntityTooLarge without unpacking more than a body may have."""
    unpacking = zlib.decompressobj(GZIP_WINDOW)
    try:
        found = unpacking.decompress(body, BODY_LIMIT_BYTES + 1)
    except zlib.error as error:
        raise bad_request(f"the body is not gzipped as its header says: {error}") from None
    if len(found) > BODY_LIMIT_BYTES:
        raise too_large()
    if not unpacking.eof or unpacking.unused_data:
        raise bad_request("the gzipped body is cut short" if not unpacking.eof else "more follows the gzipped body")
    return found


def too_large() -> StatusError:
    return status_error("RequestEntityTooLarge", f"Request entity too large: limit is {BODY_LIMIT_BYTES}")
