"""Watches: one frame an event, written as soon as it is known.

Memory stays bounded when a client does not read: the next batch is asked for only when the last one
was taken by the connection, and a batch is cut into pieces. What the pipeline does with a watcher
that falls behind is its affair.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial

from knarr.machinery.errors import StatusError
from services.apiserver.api import Api
from services.apiserver.pipeline.watch import Watch
from services.apiserver.request import WATCH
from services.apiserver.rest import negotiation
from services.apiserver.rest.frames import pieces
from services.apiserver.rest.objects import Representation
from services.apiserver.rest.query import list_options
from services.apiserver.rest.refs import request_of
from services.apiserver.rest.representations import Representations
from services.apiserver.rest.request import Request
from services.apiserver.rest.response import Stream
from services.apiserver.rest.routing import Target
from services.apiserver.rest.watcher import Watcher

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
        watch = await self._api.watch(request_of(request, target, WATCH, list_options(request.query)))
        watcher = partial(Watcher, watch, representation)
        return Stream(_chunks(representation, watch), representation.watch_content_type, kind="watch", watcher=watcher)


async def _chunks(representation: Representation, watch: Watch) -> AsyncGenerator[bytes, None]:
    """For clients whose connection is not the server's to write to: those of a WebSocket."""
    try:
        async for batch in watch:
            async for piece in pieces(representation, batch):
                yield piece
                # What was given away is not held while the client reads it.
                del piece
    except StatusError as error:
        yield representation.error(error.status)
    finally:
        watch.close()
