"""The API server as the viewer reaches it: by REST, with what a kubeconfig says of where it is and who the viewer is."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp
import orjson
from aiohttp.connector import NEEDS_CLEANUP_CLOSED
from yarl import URL

from knarr.client.http import open_session

T = TypeVar("T")
ANSWER_SECONDS = 30.0
PAGE = 100
LAST_ROUNDS = 3
JSON = "application/json"
# By it the API server calls who manages what is written here, as kubectl's does.
AGENT = "knarr-ui"
# Of a WebSocket: an end that says nothing for so long is asked whether it is there.
BEAT_SECONDS = 20.0
# An object is at most a few MiB, and an event holds one.
MOST_LINE_BYTES = 32 * 1024 * 1024


class Refused(Exception):
    """What the API server has against a request; ``code`` is HTTP's, or that of a watch's ERROR event."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API server is, and what is shown to it. ``context`` has trust and certificate; None for plain HTTP."""

    url: str
    context: ssl.SSLContext | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    # Whom its certificate must name, if not the host.
    server_name: str = ""


def silence(error: Exception) -> str:
    """What is said where the API server gave no answer: aiohttp.ClientError, OSError."""
    return f"the API server does not answer: {str(error) or type(error).__name__}"


class Api:
    """A context manager. What it raises: Refused, aiohttp.ClientError, OSError (TimeoutError among them). ``access`` may become another:
    requests that begin later are made with it."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._session = open_session(
            # A connection that is left says farewell in TLS: it waits two seconds for the server's, where Python itself would wait half a
            # minute, and not at all once the session is closed.
            connector=aiohttp.TCPConnector(limit=0, enable_cleanup_closed=NEEDS_CLEANUP_CLOSED),
            timeout=aiohttp.ClientTimeout(total=None, connect=ANSWER_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def __aenter__(self) -> Api:
        return self

    async def __aexit__(self, *_: object) -> None:
        # Python 3.11 fails to abort what is gone already, and aiohttp then leaves all after it open.
        saying_farewell = [*getattr(self._session.connector, "_cleanup_closed_transports", ())]
        with suppress(AttributeError):
            await self._session.close()
        for transport in saying_farewell:
            with suppress(AttributeError):
                transport.abort()
        # The loop closes the sockets of what was aborted in its next rounds; one that ends before that leaves them open.
        for _round in range(LAST_ROUNDS):
            await asyncio.sleep(0)

    @asynccontextmanager
    async def asked(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to one request, whatever its status; ``path`` is written as it is to be sent, query included."""
        url = URL(self.access.url.rstrip("/") + path, encoded=True)
        shown = {"User-Agent": AGENT, **self.access.headers, **(headers or {})}
        async with self._session.request(method, url, data=body, headers=shown, allow_redirects=False, **self._tls()) as answer:
            try:
                yield answer
            finally:
                # A watch that is left has no end to wait for, and TLS would wait half a minute for the server's farewell. Where aiohttp
                # sees to that, it must not be done twice: Python 3.11 fails at it.
                connection = None if NEEDS_CLEANUP_CLOSED else answer.connection
                if connection is not None and connection.transport is not None:
                    connection.transport.abort()

    @asynccontextmanager
    async def socket(self, path: str, protocols: Sequence[str]) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A WebSocket. Raises aiohttp.WSServerHandshakeError where it is refused."""
        url = URL(self.access.url.rstrip("/") + path, encoded=True)
        async with self._session.ws_connect(
            url, protocols=protocols, headers=self.access.headers, max_msg_size=MOST_LINE_BYTES, heartbeat=BEAT_SECONDS, **self._tls()
        ) as socket:
            yield socket

    def _tls(self) -> dict[str, Any]:
        options: dict[str, Any] = {"ssl": self.access.context} if self.access.context is not None else {}
        if self.access.server_name:
            options["server_hostname"] = self.access.server_name
        return options

    async def json(self, method: str, path: str, body: Any = None, accept: str = JSON, content: str = JSON) -> Any:
        """What is answered with success; raises Refused else. ``content`` says what the body is: one of the patches, say."""
        text = None if body is None else orjson.dumps(body)
        async with self.asked(method, path, text, {"Accept": accept, "Content-Type": content}) as answer:
            found = await answer.read()
            if answer.status >= 400:
                raise Refused(answer.status, _message(found))
            return _parsed(found)

    async def list(self, path: str, accept: str, pack: Callable[[dict[str, Any]], T]) -> tuple[list[T], int]:
        """All objects of a collection as ``pack`` makes them small, page by page, and the revision of the list."""
        objects: list[T] = []
        token = ""
        while True:
            page = await self.json("GET", f"{path}?limit={PAGE}" + (f"&continue={token}" if token else ""), accept=accept)
            objects += map(pack, page.get("items") or ())
            token = page["metadata"].get("continue", "")
            if not token:
                return objects, int(page["metadata"].get("resourceVersion") or 0)

    async def watch(self, path: str, revision: int, accept: str) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
        """Events after ``revision``, type and object, until the server ends the watch; raises Refused for an ERROR event, too."""
        query = f"{path}?watch=1&allowWatchBookmarks=true&resourceVersion={revision}"
        async with self.asked("GET", query, headers={"Accept": accept}) as answer:
            if answer.status >= 400:
                raise Refused(answer.status, _message(await answer.read()))
            async for line in _lines(answer.content):
                event = _parsed(line)
                if event["type"] == "ERROR":
                    raise Refused(int(event["object"].get("code", 500)), str(event["object"].get("message", "")))
                yield event["type"], event["object"]


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Whole lines, however long; aiohttp's own are bounded by its buffer. Raises Refused beyond MOST_LINE_BYTES."""
    rest = b""
    async for piece in content.iter_any():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line:
                yield line
        if len(rest) > MOST_LINE_BYTES:
            raise Refused(413, f"an event has more than {MOST_LINE_BYTES} bytes")


def _parsed(text: bytes) -> Any:
    """What is no JSON is no API server's, whatever its status says: raises Refused with how it begins."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Refused(502, f"what answers is no API server: {text[:100].decode(errors='replace').strip()!r}") from None


def _message(text: bytes) -> str:
    try:
        return str(orjson.loads(text)["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return text[:500].decode(errors="replace").strip()
