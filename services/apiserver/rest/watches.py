"""Watches: one frame an event, written as soon as it is known.

Memory stays bounded when a client does not read: the next batch is asked for only when the last one
was taken by the connection, and a batch is cut into pieces. What the pipeline does with a watcher
that falls behind is its affair.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import suppress

from knarr.machinery.errors import StatusError
from services.apiserver.api import Api
from services.apiserver.aside import LARGE_BYTES, in_turn
from services.apiserver.request import WATCH
from services.apiserver.rest import negotiation
from services.apiserver.rest.objects import Representation
from services.apiserver.rest.query import list_options
from services.apiserver.rest.refs import request_of
from services.apiserver.rest.representations import Representations
from services.apiserver.rest.request import Request
from services.apiserver.rest.response import Stream
from services.apiserver.rest.routing import Target
from services.apiserver.results import Event

# What a client that does not read holds of a watch is about three times as much.
CHUNK_BYTES = 8 * 1024
STREAMED = (f"{negotiation.JSON};stream=watch", f"{negotiation.PROTOBUF};stream=watch")


class Watches:
    """Opens watches; each one ends with its client, its timeoutSeconds or the server."""

    def __init__(self, api: Api, representations: Representations) -> None:
        self._api = api
        self._representations = representations

    async def watch(self, request: Request, target: Target) -> Stream:
        """What is wrong with the options is raised here; what goes wrong later is said in the stream."""
        wanted = request.wanted
        if wanted.media_type == negotiation.YAML:
            raise negotiation.not_acceptable(STREAMED)
        representation = self._representations.choose(target.version, wanted, request.query, listed=None)
        events = await self._api.watch(request_of(request, target, WATCH, list_options(request.query)))
        return Stream(_chunks(representation, events), representation.watch_content_type, kind="watch")


async def _chunks(representation: Representation, events: AsyncIterator[Sequence[Event]]) -> AsyncGenerator[bytes, None]:
    try:
        async for batch in events:
            for entry in (event.entry for event in batch):
                if entry is not None and len(entry.raw) > LARGE_BYTES:
                    # Made once, for all watchers; what is written below finds it.
                    await in_turn(lambda: entry.served(representation.version).json)  # noqa: B023
            pieces = frames(representation, batch)
            with suppress(StopIteration):
                while True:
                    # Bound to no name: what was given away is not held while the client reads it.
                    yield next(pieces)
    except StatusError as error:
        yield representation.error(error.status)
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()


def frames(representation: Representation, batch: Sequence[Event]) -> Iterator[bytes]:
    """The frames of a batch in pieces of ``CHUNK_BYTES``, the last one shorter; made only as they are taken.

    So a client that does not read holds little, however large the objects are: their bytes are the cache's.
    """
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
