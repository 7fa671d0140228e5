"""…/proxy/…: requests that are passed on to a pod, a Service or a node, and their answers.

Whatever the request is, it is passed on once: redirects are the client's to follow. What cannot be reached is answered as Kubernetes
answers it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

from knarr.machinery.errors import StatusError, internal, status_error
from knarr.service.pipe import Pipe
from knarr.service.tasks import cancel
from services.apiserver.api import Api, Destination
from services.apiserver.exchange.line import Line, Trust, open_line, untrusted
from services.apiserver.exchange.passing import Place, request_headers, response_headers, rewritten
from services.apiserver.exchange.reply import BadReply, Head, Reply
from services.apiserver.request import CREATE, DELETE, GET, PATCH, UPDATE
from services.apiserver.rest.metrics import STREAMS
from services.apiserver.rest.proxying.pages import is_page, page
from services.apiserver.rest.refs import request_of
from services.apiserver.rest.request import Disconnected, Request, Send
from services.apiserver.rest.response import Relay, Response, Upgrade, switched
from services.apiserver.rest.routing import Target
from services.apiserver.rest.streams import STALL_SECONDS

# The longest that is waited for an answer to begin; long polls end before.
ANSWER_SECONDS = 300.0
# Whoever may get may ask for the head, and for what is possible.
VERBS = {"GET": GET, "HEAD": GET, "OPTIONS": GET, "POST": CREATE, "PUT": UPDATE, "PATCH": PATCH, "DELETE": DELETE}


def passed_verb(method: str, resource: str, *, upgraded: bool) -> str | None:
    """What is done to a resource by a request that is passed on to it; None: nothing that there is. A connection to a node that is to speak
    something else runs commands there, which its kubelet, who hears of this server alone, cannot hold against who asks."""
    verb = VERBS.get(method)
    return CREATE if verb == GET and upgraded and resource == "nodes" else verb


class Proxy:
    """``ending`` is set when the server stops."""

    def __init__(self, api: Api, ending: asyncio.Event) -> None:
        self._api, self._ending = api, ending

    async def answer(self, request: Request, target: Target) -> Response | Upgrade | Relay:
        options = target.version.body_of(target.subresource)()
        options.path = target.path  # type: ignore[attr-defined]
        verb = passed_verb(request.method, target.version.resource.plural, upgraded=bool(request.upgrade_to)) or GET
        destination = await self._api.proxy(request_of(request, target, verb, options))
        if not target.path and not request.upgrade_to and request.method in ("GET", "HEAD"):
            return _to_directory(request)
        prefix = request.path[: len(request.path) - len(target.path)]
        known = destination.credentials
        place = Place(prefix, target.path or "/", destination.host, caller=known.headers if known is not None else ())
        trust = Trust(known.context, known.name) if known is not None else None
        return await Passed(request, place, destination, self._ending, trust).answer(ANSWER_SECONDS)


def _to_directory(request: Request) -> Response:
    """Links of a page are relative to its directory."""
    query = request.scope["query_string"]
    location = request.path.encode("latin-1") + b"/" + (b"?" + query if query else b"")
    return Response(b"", 301, "text/plain; charset=utf-8", headers=[(b"location", location)])


class Redirected(Exception):
    """The other side sends elsewhere, which whoever is passed on as a whole must not follow."""


class Passed:
    """One request that is passed on. The other side's certificate counts where there is somebody to ``trust``."""

    def __init__(self, request: Request, place: Place, destination: Destination, ending: asyncio.Event, trust: Trust | None = None) -> None:
        self._request, self._destination, self._ending, self._place, self._trust = request, destination, ending, place, trust
        self._host = request.headers.get(b"host", b"").decode("latin-1")
        self._line: Line | None = None
        self._reply: Reply | None = None
        # Reads the client: its body, and then whether it is still there.
        self._client: asyncio.Task[None] | None = None

    async def answer(self, seconds: float) -> Relay | Upgrade:
        """What the other side begins to answer within so many seconds. Raises ServiceUnavailable, Disconnected."""
        try:
            head = await self._begun(seconds)
            if not self._request.upgrade_to:
                return self._relayed(head)
            if head.status == 101:
                return Upgrade(switched(head.headers), self.speak, "proxy", self.close)
            if head.status < 400:
                raise internal(f"invalid upgrade response: status code {head.status}")
            return self._relayed(head)
        except BaseException:
            await self.close()
            raise

    def _relayed(self, head: Head) -> Relay:
        if self._place.whole and 300 <= head.status < 400 and head.first(b"location"):
            # Who asks us would be sent elsewhere with what is for us alone.
            raise Redirected
        return Relay(head.status, self.relay)

    async def _begun(self, seconds: float) -> Head:
        """Sends the request and answers the head of what comes back."""
        try:
            async with asyncio.timeout(seconds):
                self._line = await open_line(self._destination.connect, self._destination.scheme, self._trust)
                self._reply = Reply(self._line, self._request.method)
                await self._line.write(self._head_bytes())
                self._client = asyncio.create_task(self._hear(self._line), name="proxy client")
                return await self._until_head(self._reply)
        except StatusError as error:
            raise _unreachable(error.status.message) from error
        except TimeoutError as error:
            raise _unreachable(f"no answer within {seconds:.0f} seconds") from error
        except ssl.SSLCertVerificationError as error:
            raise _unreachable(f"tls: failed to verify certificate: {untrusted(error)}") from error
        except (BadReply, OSError) as error:
            raise _unreachable(str(error)) from error

    async def _until_head(self, reply: Reply) -> Head:
        assert self._client is not None
        answering = asyncio.create_task(reply.head(), name="proxy answer")
        stopping = asyncio.create_task(self._ending.wait(), name="proxy end")
        try:
            await asyncio.wait({answering, stopping, self._client}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                return answering.result()
            if self._client.done():
                raise Disconnected
            raise BadReply("the API server stops")
        finally:
            await cancel([answering, stopping])

    def _head_bytes(self) -> bytes:
        request, scope = self._request, self._request.scope
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        client = (scope.get("client") or ("",))[0]
        headers = request_headers(scope["headers"], client, self._place, upgrade=bool(request.upgrade_to))
        if b"transfer-encoding" in request.headers:
            headers.append((b"transfer-encoding", b"chunked"))
        elif b"content-length" in request.headers:
            headers.append((b"content-length", request.headers[b"content-length"]))
        line = b" ".join((request.method.encode(), self._place.path.encode("latin-1") + query, b"HTTP/1.1"))
        return b"\r\n".join([line, *(name + b": " + value for name, value in headers), b"", b""])

    async def _hear(self, line: Line) -> None:
        """Passes the body on as it comes; returns when the client is gone."""
        with suppress(Disconnected):
            # Whoever answers before it has read everything has answered.
            with suppress(OSError, StatusError):
                await self._pass_body(line)
            await self._request.disconnected()

    async def _pass_body(self, line: Line) -> None:
        chunked = b"transfer-encoding" in self._request.headers
        async for piece in self._request.pieces():
            if piece:
                await line.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            await line.write(b"0\r\n\r\n")

    async def relay(self, send: Send) -> None:
        """Passes the answer on, to its end or the client's. Drops the client where the answer breaks off."""
        assert self._reply is not None and self._client is not None
        sending = asyncio.create_task(self._send(self._reply, send), name="proxy relay")
        with STREAMS.labels("proxy").track_inprogress():
            await self._until_first(sending, self._client)
        if sending.cancelled() or sending.exception() is not None:
            self._request.abort()

    async def _send(self, reply: Reply, send: Send) -> None:
        head = await reply.head()
        headers = response_headers(head.headers, self._place, self._host)
        if head.status in (204, 304):
            headers = [(name, value) for name, value in headers if name != b"content-length"]
        body: AsyncIterator[bytes] = reply.body()
        if self._request.method != "HEAD" and not self._place.whole and is_page(head):
            headers, body = await page(headers, body, lambda url: rewritten(url, self._place, self._host))
        await send({"type": "http.response.start", "status": head.status, "headers": headers})
        async for piece in body:
            async with asyncio.timeout(STALL_SECONDS):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def speak(self, pipe: Pipe) -> None:
        """Both sides speak another protocol now, and are left to it."""
        assert self._line is not None and self._reply is not None
        down = asyncio.create_task(_copy(self._line.read, pipe.write, self._reply.rest), name="proxy down")
        up = asyncio.create_task(_copy(pipe.read, self._line.write, b""), name="proxy up")
        await self._until_first(down, up)

    async def _until_first(self, *parts: asyncio.Task[None]) -> None:
        """Until one of them ends, or the server does; then it is over with all of them."""
        tasks = [*parts, asyncio.create_task(self._ending.wait(), name="proxy end")]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel(tasks)
            await self.close()
            for part in parts:
                # How the other side ended is its own affair.
                _ = part.cancelled() or part.exception()

    async def close(self) -> None:
        if self._client is not None:
            await cancel([self._client])
        if self._line is not None:
            await self._line.close()


async def _copy(read: Callable[[], Awaitable[bytes]], write: Callable[[bytes], Awaitable[Any]], first: bytes) -> None:
    data = first or await read()
    while data:
        await write(data)
        data = await read()


def _unreachable(words: str) -> StatusError:
    return status_error("ServiceUnavailable", f"error trying to reach service: {words}")
