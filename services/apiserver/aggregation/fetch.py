"""What this server itself asks of an extension API server: small documents, bounded in bytes and time, and watches."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from knarr.machinery.errors import StatusError
from services.apiserver.elsewhere import refusal_of
from services.apiserver.exchange.line import Line, Trust, open_line, untrusted
from services.apiserver.exchange.reply import BadReply, Head, Reply
from services.apiserver.ways import Connect

FETCH_SECONDS = 5.0

Headers = Iterable[tuple[bytes, bytes]]


class NotFetched(Exception):
    """Why there is no answer, in words."""


class Fetched(NamedTuple):
    """``content_type`` without its parameters, in lower-case letters."""

    status: int
    content_type: str
    body: bytes


async def fetch(
    connect: Connect, trust: Trust, host: str, path: str, headers: Headers, limit_bytes: int, *, method: str = "GET", body: bytes = b""
) -> Fetched:
    """GETs ``path``, or asks what else ``method`` says; ``body`` is JSON.

    Raises NotFetched, too for an answer that takes longer than ``FETCH_SECONDS`` or is larger than the limit.
    """
    with _told():
        async with asyncio.timeout(FETCH_SECONDS):
            return await _fetch(connect, trust, host, path, [*headers, *_about(body)], limit_bytes, method, body)


class Stream:
    """An answer whose lines are read as they come, until ``end``, on the clock of the event loop. Close it."""

    def __init__(self, line: Line, reply: Reply, limit_bytes: int, end: float) -> None:
        self._line, self._body, self._limit, self._end = line, reply.body(), limit_bytes, end

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """Raises NotFetched where it breaks off, or a line is larger than the limit."""
        begun: list[bytes] = []
        while (piece := await self._next()) is not None:
            first, *others = piece.split(b"\n")
            begun.append(first)
            if sum(map(len, begun)) > self._limit:
                raise NotFetched(f"a line of the answer has more than {self._limit} bytes")
            if others:
                *others, last = b"".join(begun), *others
                begun = [last]
                for line in others:
                    yield line

    async def _next(self) -> bytes | None:
        with _told():
            try:
                async with asyncio.timeout_at(self._end):
                    return await anext(self._body, None)
            except TimeoutError:
                return None

    async def close(self) -> None:
        await self._body.aclose()
        await self._line.close()


async def open_stream(connect: Connect, trust: Trust, host: str, path: str, headers: Headers, limit_bytes: int, seconds: float) -> Stream:
    """GETs ``path``; the stream ends after so long. Raises NotFetched, too where no answer begins within ``FETCH_SECONDS``, StatusError
    for one that is no success."""
    refused: Fetched | None = None
    with _told():
        async with asyncio.timeout(FETCH_SECONDS):
            line = await open_line(connect, "https", trust)
            try:
                reply, answer = await _asked(line, host, path, headers, "GET", b"")
                if not 200 <= answer.status < 300:
                    refused = await _whole(reply, answer, path, limit_bytes)
            except BaseException:
                await line.close()
                raise
    if refused is not None:
        await line.close()
        raise refusal_of(refused.body, refused.status)
    return Stream(line, reply, limit_bytes, asyncio.get_running_loop().time() + seconds)


@contextmanager
def _told() -> Iterator[None]:
    """Raises NotFetched for what goes wrong on the way."""
    try:
        yield
    except TimeoutError:
        raise NotFetched(f"no answer within {FETCH_SECONDS:.0f} seconds") from None
    except StatusError as error:
        raise NotFetched(error.status.message) from error
    except ssl.SSLCertVerificationError as error:
        raise NotFetched(f"tls: failed to verify certificate: {untrusted(error)}") from error
    except (BadReply, OSError) as error:
        raise NotFetched(str(error)) from error


async def _fetch(connect: Connect, trust: Trust, host: str, path: str, headers: Headers, limit: int, method: str, body: bytes) -> Fetched:
    line = await open_line(connect, "https", trust)
    try:
        reply, answer = await _asked(line, host, path, headers, method, body)
        return await _whole(reply, answer, path, limit)
    finally:
        await line.close()


async def _asked(line: Line, host: str, path: str, headers: Headers, method: str, body: bytes) -> tuple[Reply, Head]:
    head = [f"{method} {path} HTTP/1.1".encode(), b"host: %b" % host.encode(), b"accept: application/json", b"connection: close"]
    await line.write(b"\r\n".join([*head, *(name + b": " + value for name, value in headers), b"", body]))
    reply = Reply(line, method)
    return reply, await reply.head()


async def _whole(reply: Reply, answer: Head, path: str, limit: int) -> Fetched:
    pieces, size = [], 0
    async for piece in reply.body():
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            raise NotFetched(f"the answer to {path} has more than {limit} bytes")
    content_type = (answer.first(b"content-type") or b"").partition(b";")[0].strip().lower().decode("latin-1")
    return Fetched(answer.status, content_type, b"".join(pieces))


def _about(body: bytes) -> Headers:
    return ((b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))) if body else ()
