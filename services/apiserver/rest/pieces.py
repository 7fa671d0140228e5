"""Answers that are too large to be written at once, and lists that are too large to be put together: sent piece by piece, as the client
takes them.

So a list of hundreds of thousands of objects holds the loop for no longer than a piece takes, and costs no memory of its own: the objects'
JSON is the cache's, and a client that does not read holds one piece. What is not written yet is made aside. What is there as a whole leaves
in pieces too: TLS copies what it is given at each step, and keeps room for the largest as long as the connection lasts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Iterator
from itertools import tee
from operator import attrgetter

from knarr.service.accepting import accepts_gzip
from services.apiserver.aside import LARGE_BYTES, aside, in_turn
from services.apiserver.entries import Block, Entries
from services.apiserver.entry import Entry
from services.apiserver.rest.finish import GZIP_HEADERS, gzip
from services.apiserver.rest.objects import Representation
from services.apiserver.rest.request import Request, Send
from services.apiserver.rest.response import Pieces, Response
from services.apiserver.results import Page

logger = logging.getLogger(__name__)

# As much as is worth a write, does not take long (a tenth of a millisecond where it is written already), and goes through TLS and the loop
# within a processor's own cache.
PIECE_BYTES = 256 * 1024
# A client that takes nothing for so long is given up; and one that has not taken all after so long: what it asked for is kept for it.
STALL_SECONDS, LIST_SECONDS = 60.0, 600.0

_RAW = attrgetter("raw")


async def in_pieces(request: Request, representation: Representation, page: Page) -> Pieces:
    """The answer to a list, compressed for who asks for that. Raises TooManyRequests."""
    portions, known = tee(_portions(page.entries))
    made = representation.pieces(page, portions)
    # What comes before the items may tell how long they all are.
    head = await aside(LARGE_BYTES + 1, next, made)
    pieces, headers = _made(representation, head, known, made), []
    if accepts_gzip(request.headers.get(b"accept-encoding", b"")):
        pieces, headers = _compressed(pieces), [*GZIP_HEADERS]
    return Pieces(pieces, representation.content_type, headers)


def is_long(answer: Response) -> bool:
    """Whether an answer that is there as a whole is better cut."""
    return len(answer.body) > PIECE_BYTES


def cut(answer: Response) -> Pieces:
    """An answer that is there as a whole, in pieces."""
    return Pieces(_cut(answer), answer.content_type, answer.headers, answer.status, answer.caching, answer.size_bytes)


async def send_pieces(request: Request, answer: Pieces, send: Send, stall_seconds: float = STALL_SECONDS) -> None:
    """Writes an answer to its end, or drops the connection."""
    whole = False
    try:
        async with asyncio.timeout(LIST_SECONDS):
            await send(answer.start())
            async for piece in answer.pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                # The next one is not made before this one has left, which is the connection's now.
                del piece
                if (drained := request.drained()) is None:
                    await asyncio.sleep(0)
                else:
                    async with asyncio.timeout(stall_seconds):
                        await drained
                if request.is_gone:
                    return
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            whole = True
    except TimeoutError:
        logger.warning("a client does not read; its answer is given up", extra={"path": request.path})
    finally:
        await answer.pieces.aclose()
        if not whole:
            request.abort()


async def _made(
    representation: Representation, head: bytes, portions: Iterator[Block], made: Iterator[bytes]
) -> AsyncGenerator[bytes, None]:
    yield head
    for portion in portions:
        yield next(made) if representation.has_ready(portion) else await in_turn(next, made)
    for piece in made:
        yield piece


async def _cut(answer: Response) -> AsyncGenerator[bytes | memoryview, None]:
    if answer.before:
        yield answer.before
    body = memoryview(answer.body)
    for first in range(0, len(body), PIECE_BYTES):
        yield body[first : first + PIECE_BYTES]


async def _compressed(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    squeeze = gzip()
    try:
        async for piece in pieces:
            if smaller := await in_turn(squeeze.compress, piece):
                yield smaller
    finally:
        await pieces.aclose()
    yield squeeze.flush()


def weight(entries: Iterable[Entry]) -> int:
    """How many bytes there are to be written, about."""
    return sum(map(len, map(_RAW, entries)))


def _portions(entries: Entries) -> Iterator[Block]:
    """The entries in parts that make pieces; of those that are large, fewer."""
    for block in entries.blocks:
        if weight(block) <= PIECE_BYTES:
            yield block
            continue
        first = size_bytes = 0
        for index, entry in enumerate(block):
            size_bytes += len(entry.raw)
            if size_bytes > PIECE_BYTES and index > first:
                yield block[first:index]
                first, size_bytes = index, len(entry.raw)
        yield block[first:]
