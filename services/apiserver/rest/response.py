"""Answers: ready-made bytes, or a stream of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

from knarr.service.pipe import Pipe
from services.apiserver.entries import Entries
from services.apiserver.rest import negotiation
from services.apiserver.rest.request import HeldConnection, Send

if TYPE_CHECKING:
    from services.apiserver.rest.watcher import Watcher

Headers = list[tuple[bytes, bytes]]

# More warnings in one answer are cut, each to so many letters, and the last left out.
MAX_WARNING_LETTERS, CUT_WARNING_LETTERS = 4096, 256
TEXT = "text/plain; charset=utf-8"
# Says that the connection ends with this answer.
CLOSE = (b"connection", b"close")
NO_STORE = (b"cache-control", b"no-cache, private")
# Says that an answer may be kept, and asked for again by its ETag.
REVALIDATED = (b"cache-control", b"no-cache, private, must-revalidate")
_CONTENT_TYPES = {media_type: (b"content-type", media_type.encode()) for media_type in (*negotiation.MEDIA_TYPES, TEXT)}


@dataclass(slots=True)
class Response:
    """A complete answer."""

    body: bytes
    status: int = 200
    content_type: str = negotiation.JSON
    headers: Sequence[tuple[bytes, bytes]] = ()
    # The header that says who may keep the answer.
    caching: tuple[bytes, bytes] = NO_STORE
    # What the body begins with, where the rest may be large and others', and would have to be copied to be joined with it.
    before: bytes = b""
    # Whose ``joined`` the rest is, where it is that.
    items: Entries | None = None

    @property
    def size_bytes(self) -> int:
        return len(self.before) + len(self.body)

    def join(self) -> None:
        """Makes the body one, for who must look at all of it."""
        self.before, self.body, self.items = b"", self.before + self.body, None

    def start(self) -> dict[str, object]:
        """The ASGI message that opens the answer."""
        headers: Headers = [_content_type(self.content_type), (b"content-length", b"%d" % self.size_bytes), self.caching, *self.headers]
        return {"type": "http.response.start", "status": self.status, "headers": headers}

    def head(self, marks: bytes = b"") -> bytes:
        """The same as bytes, of an answer in one part without headers of its own but those of the server, as they are written."""
        return b"%b%d\r\n%b\r\n" % (_head(self.status, self.content_type, self.caching), len(self.body), marks)


@dataclass(slots=True)
class Stream:
    """An answer that goes on: each chunk is written at once, in order.

    ``kind`` names it in the metrics; ``abandon`` is called when it ends, also before it began. Where the connection can be held,
    ``watcher`` is made with it, the seconds that it may be full, and whom to tell the end, and writes what ``chunks`` would be.
    """

    chunks: AsyncGenerator[bytes, None]
    content_type: str = negotiation.JSON
    headers: Sequence[tuple[bytes, bytes]] = ()
    status: int = 200
    kind: str = ""
    abandon: Callable[[], object] = bool
    watcher: Callable[[HeldConnection, float, Callable[[Any], None]], Watcher] | None = None
    # Called when all of it is over, however that came.
    on_end: Callable[[], object] = bool

    def start(self) -> dict[str, object]:
        headers: Headers = [_content_type(self.content_type), NO_STORE, *self.headers]
        return {"type": "http.response.start", "status": self.status, "headers": headers}


@dataclass(slots=True)
class Pieces:
    """A large answer, which leaves as the client takes it, and may be made meanwhile; a connection on which it cannot be finished is
    dropped, so that nobody takes a part of it for all.

    ``size_bytes`` is how long it is, where that is known before: then it is told, and the pieces are written without a frame of their own.
    """

    pieces: AsyncGenerator[bytes | memoryview, None]
    content_type: str
    headers: Sequence[tuple[bytes, bytes]] = ()
    status: int = 200
    caching: tuple[bytes, bytes] = NO_STORE
    size_bytes: int | None = None

    def start(self) -> dict[str, object]:
        length = [] if self.size_bytes is None else [(b"content-length", b"%d" % self.size_bytes)]
        headers: Headers = [_content_type(self.content_type), *length, self.caching, *self.headers]
        return {"type": "http.response.start", "status": self.status, "headers": headers}


@dataclass(slots=True)
class Upgrade:
    """An answer that ends HTTP: ``head`` is written as it is, then ``serve`` speaks to the client.

    ``kind`` names it in the metrics; ``abandon`` is called instead of ``serve`` where the connection cannot be given over.
    """

    head: bytes
    serve: Callable[[Pipe], Awaitable[None]]
    kind: str
    abandon: Callable[[], Awaitable[None]] | None = None
    status: ClassVar[int] = 101


@dataclass(slots=True)
class Relay:
    """An answer of somebody else's; ``run`` passes it on, head and body."""

    status: int
    run: Callable[[Send], Awaitable[None]]


Answer = Response | Stream | Pieces | Upgrade | Relay


def switched(headers: Headers) -> bytes:
    """The head of an answer of status 101 that has these headers."""
    return b"\r\n".join([b"HTTP/1.1 101 Switching Protocols", *(name + b": " + value for name, value in headers), b"", b""])


def switching(protocol: str, headers: Headers) -> bytes:
    """The head of an answer after which the connection speaks ``protocol``."""
    return switched([(b"Connection", b"Upgrade"), (b"Upgrade", protocol.encode()), *headers])


def _content_type(media_type: str) -> tuple[bytes, bytes]:
    return _CONTENT_TYPES.get(media_type) or (b"content-type", media_type.encode())


@lru_cache(maxsize=128)
def _head(status: int, content_type: str, caching: tuple[bytes, bytes]) -> bytes:
    """A head up to the length of the body."""
    phrase = HTTPStatus(status).phrase.encode()
    headers = b"".join(b"%b: %b\r\n" % header for header in (_content_type(content_type), caching))
    return b"HTTP/1.1 %d %b\r\n%bcontent-length: " % (status, phrase, headers)


def marked(marks: bytes) -> Headers:
    """Headers that are written already, as a list."""
    return [(name, value) for line in marks.splitlines() for name, _, value in (line.partition(b": "),)]


def text(body: str, status: int = 200) -> Response:
    return Response(body.encode(), status, TEXT)


def warning_headers(warnings: Sequence[str]) -> Headers:
    """One ``Warning: 299 - "…"`` header a warning; control characters cannot stand in a header. Many are cut short, as in Kubernetes."""
    headers: Headers = []
    if sum(map(len, warnings)) > MAX_WARNING_LETTERS:
        shown = MAX_WARNING_LETTERS // CUT_WARNING_LETTERS
        warnings = [warning[:CUT_WARNING_LETTERS] for warning in warnings[:shown]]
    for warning in warnings:
        clean = "".join(character if character.isprintable() else " " for character in warning)
        quoted = clean.replace("\\", "\\\\").replace('"', '\\"')
        headers.append((b"warning", f'299 - "{quoted}"'.encode("latin-1", "replace")))
    return headers
