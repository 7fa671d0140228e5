"""What the other side answers to a request that was passed on: HTTP/1.1 as bytes, piece by piece."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

import httptools

from services.apiserver.exchange.line import Line

Headers = list[tuple[bytes, bytes]]

HEAD_BYTES = 1024 * 1024


class BadReply(Exception):
    """What came is no answer."""


@dataclass(frozen=True, slots=True)
class Head:
    status: int
    headers: Headers

    def first(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key == name), None)


class Reply:
    """Reads one answer; ``method`` is that of the request, of which a HEAD has no body to its answer."""

    def __init__(self, line: Line, method: str) -> None:
        self._line, self._method = line, method
        self._parser = httptools.HttpResponseParser(self)
        self._headers: Headers = []
        self._head: Head | None = None
        self._pieces: list[bytes] = []
        self._complete = False
        # What came behind an answer after which no HTTP is spoken.
        self.rest = b""

    # What the parser calls.
    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200 or status == 101:
            self._head = Head(status, self._headers)
        self._headers = []

    def on_body(self, data: bytes) -> None:
        self._pieces.append(data)

    def on_message_complete(self) -> None:
        self._complete = self._head is not None

    async def head(self) -> Head:
        """Raises BadReply, and what the line raises. Answers of 1xx are passed over, but for a change of protocol."""
        received = 0
        while self._head is None:
            data = await self._line.read()
            received += len(data)
            if not data:
                raise BadReply("EOF")
            if received > HEAD_BYTES:
                raise BadReply(f"the head of the answer has more than {HEAD_BYTES} bytes")
            self._feed(data)
        return self._head

    async def body(self) -> AsyncGenerator[bytes, None]:
        """The body without its framing. Raises BadReply where it ends too early."""
        if self._head is None or self._method == "HEAD" or self._head.status in (204, 304):
            return
        while True:
            pieces, self._pieces = self._pieces, []
            for piece in pieces:
                yield piece
            if self._complete:
                return
            data = await self._line.read()
            if not data:
                if self._head.first(b"content-length") is None and self._head.first(b"transfer-encoding") is None:
                    return
                raise BadReply("unexpected EOF")
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.rest = data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            raise BadReply(f"malformed HTTP response: {error}") from error
