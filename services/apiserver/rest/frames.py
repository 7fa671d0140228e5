"""The frames of a watch, in pieces that are made only as they are taken.

So a client that does not read holds little, however large the objects are: their bytes are the cache's.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import suppress

from services.apiserver.aside import LARGE_BYTES, in_turn
from services.apiserver.rest.objects import Representation
from services.apiserver.results import Event

# What a client that does not read holds of a watch is about three times as much.
CHUNK_BYTES = 8 * 1024


async def pieces(representation: Representation, batch: Sequence[Event]) -> AsyncGenerator[bytes, None]:
    """The frames of a batch in pieces of ``CHUNK_BYTES``, the last one shorter."""
    for entry in (event.entry for event in batch):
        if entry is not None and len(entry.raw) > LARGE_BYTES and not representation.has_ready((entry,)):
            # Made once, for all watchers; what is written below finds it.
            await in_turn(lambda: entry.served(representation.version).json)  # noqa: B023
    cut = frames(representation, batch)
    with suppress(StopIteration):
        while True:
            # Bound to no name: what was given away is not held while the client reads it.
            yield next(cut)


def frames(representation: Representation, batch: Sequence[Event]) -> Iterator[bytes]:
    """The same, of objects whose bytes are there, or soon made."""
    parts: list[bytes | memoryview] = []
    room = CHUNK_BYTES
    for event in batch:
        for part in representation.event(event):
            rest: bytes | memoryview = part
            while len(rest) >= room:
                rest = memoryview(rest)
                parts.append(rest[:room])
                yield b"".join(parts)
                rest, parts, room = rest[room:], [], CHUNK_BYTES
            if rest:
                parts.append(rest)
                room -= len(rest)
    if parts:
        yield b"".join(parts)
