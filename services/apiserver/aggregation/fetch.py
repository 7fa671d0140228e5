"""What this server itself asks of an extension API server: small documents, bounded in bytes and time."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from typing import NamedTuple

from knarr.machinery.errors import StatusError
from services.apiserver.exchange.line import Trust, open_line, untrusted
from services.apiserver.exchange.reply import BadReply, Reply
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
    connect: Connect, trust: Trust, host: str, path: str, headers: tuple[tuple[bytes, bytes], ...], limit_bytes: int
) -> Fetched:
    """GETs ``path``. Raises NotFetched, too for an answer that takes longer than ``FETCH_SECONDS`` or is larger than the limit."""
    try:
        async with asyncio.timeout(FETCH_SECONDS):
            return await _fetch(connect, trust, host, path, headers, limit_bytes)
    except TimeoutError:
        raise NotFetched(f"no answer within {FETCH_SECONDS:.0f} seconds") from None
    except StatusError as error:
        raise NotFetched(error.status.message) from error
    except ssl.SSLCertVerificationError as error:
        raise NotFetched(f"tls: failed to verify certificate: {untrusted(error)}") from error
    except (BadReply, OSError) as error:
        raise NotFetched(str(error)) from error


async def _fetch(connect: Connect, trust: Trust, host: str, path: str, headers: Headers, limit: int) -> Fetched:
    line = await open_line(connect, "https", trust)
    try:
        head = [b"GET %b HTTP/1.1" % path.encode(), b"host: %b" % host.encode(), b"accept: application/json", b"connection: close"]
        await line.write(b"\r\n".join([*head, *(name + b": " + value for name, value in headers), b"", b""]))
        reply = Reply(line, "GET")
        answer = await reply.head()
        pieces, size = [], 0
        async for piece in reply.body():
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise NotFetched(f"the answer to {path} has more than {limit} bytes")
        content_type = (answer.first(b"content-type") or b"").partition(b";")[0].strip().lower().decode("latin-1")
        return Fetched(answer.status, content_type, b"".join(pieces))
    finally:
        await line.close()
