"""HTTP/1.1 on one connection, for few clients that ask seldom: scrapers, and who passes requests on.

The API server's REST face has a protocol of its own, for thousands of requests a second. This one keeps a request whole, answers one after
the other, and imports nothing but a parser. What a client may take is bounded: the size of head and body, the time for them to come, the
time that an answer is not read.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
from collections import deque
from collections.abc import Callable
from contextlib import aclosing, suppress
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, parse_url

from knarr.service.accepting import accepts_gzip
from knarr.service.client_certificates import CertifiedUser, of_connection
from knarr.service.presence import while_there
from knarr.service.web.message import MOST_PARAMETERS, TEXT, WebAnswer, WebFace, WebRequest
from knarr.service.web.upgraded import UNREAD_BYTES, UpgradedConnection

log = logging.getLogger(__name__)

# A body is kept before anybody knows who sends it.
HEAD_BYTES, HEAD_FIELDS, BODY_BYTES = 64 * 1024, 256, 64 * 1024
# For a request to come whole, for the next one to begin, and for what was written to be read.
REQUEST_SECONDS, IDLE_SECONDS, STALL_SECONDS = 30.0, 120.0, 60.0
# Requests that are sent ahead of their answers.
MAX_AHEAD = 4
# Of a longer body what a client takes packed is packed.
PACKED_BYTES = 16 * 1024
LINGER_SECONDS = 2.0
# What somebody is answered who may be anybody.
STRANGE = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.BAD_REQUEST)


class TooMuch(Exception):
    """A client sends more than is taken; with the status that says so."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class _Head:
    """A request while it comes."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: dict[str, str] = {}
        self.bytes = self.fields = 0
        self.complete = False
        self.body = bytearray()

    def take(self, count: int) -> None:
        self.bytes += count
        if self.bytes > HEAD_BYTES or self.fields > HEAD_FIELDS:
            raise TooMuch(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)


class _Asked(NamedTuple):
    """A request that is there whole, and whether the connection goes on behind it; ``refused`` where nobody is to be asked about it."""

    request: WebRequest
    goes_on: bool
    refused: HTTPStatus | None = None


class WebProtocol(asyncio.Protocol):
    """``ended`` is called once with the protocol when its connection is over."""

    def __init__(self, face: WebFace, ended: Callable[[WebProtocol], None]) -> None:
        self._face, self._ended = face, ended
        self._parser = HttpRequestParser(self)
        self._head = _Head()
        # In the order of their coming.
        self._asked: deque[_Asked] = deque()
        self._arrived, self._writable = asyncio.Event(), asyncio.Event()
        self._writable.set()
        self._certified: CertifiedUser | None = None
        # Whether a request is answered, and whether one is still coming.
        self._answering = self._coming = False
        # Whether one was answered who may ask.
        self.known = False
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self._ending = asyncio.Event()
        # What followed a request to become something else, which is not HTTP.
        self._early: bytearray | None = None
        self.transport: asyncio.Transport
        self.task: asyncio.Task[None]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self._certified = of_connection(transport.get_extra_info("ssl_object"))
        self._wait(REQUEST_SECONDS)
        self.task = asyncio.create_task(self._serve(), name="web")

    def connection_lost(self, error: Exception | None) -> None:
        self._wait(None)
        self._writable.set()
        self.task.cancel()
        self._ended(self)

    @property
    def idle(self) -> bool:
        """Whether nothing is being answered."""
        return not self._answering and not self._asked

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def stop(self) -> None:
        """Ends the connection when what was asked by it is answered; nothing more is taken."""
        self._stopping = True
        self._ending.set()
        self._arrived.set()

    def data_received(self, data: bytes) -> None:
        if self._early is not None:
            self._keep(self._early, data)
            return
        if self._stopping:
            return
        try:
            self._parser.feed_data(data)
        except TooMuch as error:
            self._refuse(error.status)
        except HttpParserUpgrade as asked:
            # Answered like any other request; whatever follows it is in another language.
            self._stopping = True
            self._early = bytearray()
            self._keep(self._early, data[asked.args[0] :])
        except HttpParserError as error:
            cause = error.__context__
            self._refuse(cause.status if isinstance(cause, TooMuch) else HTTPStatus.BAD_REQUEST)

    def _keep(self, early: bytearray, data: bytes) -> None:
        early += data
        if len(early) > UNREAD_BYTES:
            self.transport.pause_reading()

    def _refuse(self, status: HTTPStatus) -> None:
        """Says what is wrong, behind the answers that are due; the client may send on for a while, so that it reads this."""
        self._asked.append(_Asked(WebRequest("", ""), False, status))
        self._stopping = True
        self._arrived.set()

    # What the parser calls.

    def on_message_begin(self) -> None:
        if len(self._asked) >= MAX_AHEAD:
            raise TooMuch(HTTPStatus.TOO_MANY_REQUESTS)
        self._head, self._coming = _Head(), True
        self._wait(REQUEST_SECONDS)

    def on_url(self, url: bytes) -> None:
        self._head.url += url
        self._head.take(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        # Also those of one name: each is joined to what came before it.
        self._head.fields += 1
        if not self._head.complete:
            # What follows a body says nothing more.
            key, words = name.decode("latin-1").lower(), value.decode("latin-1")
            before = self._head.headers.get(key)
            self._head.headers[key] = words if before is None else f"{before}, {words}"
        self._head.take(len(name) + len(value))

    def on_headers_complete(self) -> None:
        self._head.complete = True
        length = self._head.headers.get("content-length", "")
        if length.isdecimal() and int(length) > BODY_BYTES:
            raise TooMuch(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        # Within another answer it would be part of that one; who waits for it sends on after a while.
        if self.idle and self._head.headers.get("expect", "").lower() == "100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._head.body += body
        if len(self._head.body) > BODY_BYTES:
            raise TooMuch(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    def on_message_complete(self) -> None:
        self._coming = False
        self._wait(None)
        head = self._head
        url = parse_url(head.url)
        if (url.query or b"").count(b"&") >= MOST_PARAMETERS:
            raise TooMuch(HTTPStatus.REQUEST_URI_TOO_LONG)
        request = WebRequest(
            self._parser.get_method().decode("ascii"),
            unquote((url.path or b"/").decode("latin-1"), "utf-8"),
            (url.query or b"").decode("latin-1"),
            head.headers,
            bytes(head.body),
            self._certified,
            head.headers.get("upgrade", "").lower() if self._parser.should_upgrade() else "",
        )
        self._asked.append(_Asked(request, self._parser.should_keep_alive()))
        self._arrived.set()

    # What answers.

    async def _serve(self) -> None:
        try:
            while await self._answer_next():
                pass
            self.transport.close()
            # A client that reads nothing would keep it for ever.
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self.transport.abort)
        except (TimeoutError, ConnectionError):
            self.transport.abort()
        except Exception:
            log.exception("an answer broke off")
            self.transport.abort()

    async def _answer_next(self) -> bool:
        """Whether there may be another one."""
        if not self._asked:
            if self._stopping:
                return False
            self._arrived.clear()
            await self._arrived.wait()
            return True
        request, goes_on, refused = self._asked.popleft()
        self._answering = True
        try:
            answer = await self._answer(request) if refused is None else WebAnswer(f"{refused.phrase}\n".encode(), refused)
            self.known = self.known or answer.status not in STRANGE
            if answer.upgrade is not None and self._early is not None:
                await self._give_over(answer, bytes(self._early))
                return False
            await self._write(request, answer, goes_on and not (self._stopping and not self._asked))
        finally:
            self._answering = False
        if goes_on and not self._asked and not self._coming:
            self._wait(IDLE_SECONDS)
        return goes_on

    async def _answer(self, request: WebRequest) -> WebAnswer:
        try:
            return await self._face(request)
        except Exception as error:
            log.exception("a request failed", extra={"method": request.method, "path": request.path})
            return WebAnswer(f"Internal Server Error: {type(error).__name__}\n".encode(), HTTPStatus.INTERNAL_SERVER_ERROR, TEXT)

    async def _write(self, request: WebRequest, answer: WebAnswer, goes_on: bool) -> None:
        headers = [("Content-Type", answer.content_type), *answer.headers]
        if not goes_on:
            headers.append(("Connection", "close"))
        with_body = request.method != "HEAD" and answer.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
        if isinstance(answer.body, bytes):
            body = answer.body
            if len(body) > PACKED_BYTES and accepts_gzip(request.headers.get("accept-encoding", "").encode("latin-1")):
                body = await asyncio.to_thread(gzip.compress, body, 1)
                headers.append(("Content-Encoding", "gzip"))
            headers.append(("Content-Length", str(len(body))))
            self.transport.write(_head(answer.status, headers) + (body if with_body else b""))
            await self._drain()
            return
        async with aclosing(answer.body) as pieces:  # type: ignore[type-var]
            self.transport.write(_head(answer.status, [*headers, ("Transfer-Encoding", "chunked")]))
            if not with_body:
                return
            async for piece in pieces:
                if piece:
                    self.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                    await self._drain()
        self.transport.write(b"0\r\n\r\n")
        await self._drain()

    async def _give_over(self, answer: WebAnswer, early: bytes) -> None:
        """To whoever takes the connection; when the client is gone this is cancelled."""
        assert answer.upgrade is not None
        self._wait(None)
        upgraded = UpgradedConnection(self.transport, early, self.connection_lost)
        self.transport.write(_head(HTTPStatus.SWITCHING_PROTOCOLS, [*answer.headers, ("Connection", "Upgrade")]))
        self.transport.set_protocol(upgraded)
        self._early = None
        self.transport.resume_reading()
        with suppress(ConnectionError):
            await while_there(upgraded, answer.upgrade(upgraded, self._ending))

    async def _drain(self) -> None:
        """Waits while the client does not read. Raises TimeoutError when it takes too long."""
        if not self._writable.is_set():
            async with asyncio.timeout(STALL_SECONDS):
                await self._writable.wait()

    def _wait(self, seconds: float | None) -> None:
        """Ends the connection in so many seconds, unless this is called again."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.transport.abort) if seconds is not None else None


def _head(status: int, headers: list[tuple[str, str]]) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
