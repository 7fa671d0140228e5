"""What this server itself asks of an extension API server: small documents, bounded in bytes and time."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from typing import NamedTuple

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import codec
from knarr.machinery.errors import StatusError, error_of, status_error
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
    connect: Connect, trust: Trust, host: str, path: str, headers: Headers, limit_bytes: int, *, method: str = "GET", body: bytes = b""
) -> Fetched:
    """GETs ``path``, or asks what else ``method`` says; ``body`` is JSON.

    Raises NotFetched, too for an answer that takes longer than ``FETCH_SECONDS`` or is larger than the limit.
    """
    try:
        async with asyncio.timeout(FETCH_SECONDS):
            return await _fetch(connect, trust, host, path, [*headers, *_about(body)], limit_bytes, method, body)
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
        head = [f"{method} {path} HTTP/1.1".encode(), b"host: %b" % host.encode(), b"accept: application/json", b"connection: close"]
        await line.write(b"\r\n".join([*head, *(name + b": " + value for name, value in headers), b"", body]))
        reply = Reply(line, method)
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


def _about(body: bytes) -> Headers:
    return ((b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))) if body else ()


def refusal_of(answer: Fetched) -> StatusError:
    """What an answer that is no success says, if it is a Status."""
    try:
        found = codec.from_json(meta.Status, answer.body).message
    except StatusError:
        found = meta.Status()
    if not found.reason:
        return status_error("ServiceUnavailable", f"the other server answered {answer.status}")
    return error_of(found)
