"""Runs streamed answers: ends them with their client, with the server, or when a client stops reading."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from knarr.machinery.errors import StatusError
from knarr.service.presence import while_there
from services.apiserver.rest.flow import has_room
from services.apiserver.rest.metrics import STREAMS
from services.apiserver.rest.request import HeldConnection, Request, Send
from services.apiserver.rest.response import Stream, Upgrade
from services.apiserver.rest.watcher import Watcher

logger = logging.getLogger(__name__)

# A connection that takes nothing for so long is given up.
STALL_SECONDS = 60.0
FAREWELL_SECONDS = 0.5
WATCHERS = STREAMS.labels("watch")


class Streams:
    """The open streams of one server."""

    def __init__(self, stall_seconds: float = STALL_SECONDS) -> None:
        self.stall_seconds = stall_seconds
        self.ending = asyncio.Event()
        self._limits: set[asyncio.Timeout] = set()
        # With what is to be told of their end.
        self._watchers: dict[Watcher, Callable[[], object]] = {}

    def end(self) -> None:
        """Ends every stream, now and later: their clients see a complete answer."""
        self.ending.set()
        for limit in self._limits:
            _expire(limit)
        for watcher in list(self._watchers):
            watcher.end()

    def drop_watches(self) -> int:
        """Breaks the connections of all watches; answers how many they were."""
        watchers = list(self._watchers)
        for watcher in watchers:
            watcher.drop()
        return len(watchers)

    async def send(self, request: Request, stream: Stream, send: Send) -> None:
        """Writes a stream to its end, or hands it over to a watcher.

        It ends with the client or the server by a limit of time, which is none until then: a task for each that may end it would cost more.
        """
        limit = asyncio.timeout(None)
        running = STREAMS.labels(stream.kind)
        running.inc()
        held = None
        try:
            async with limit:
                self._limits.add(limit)
                request.when_lost(partial(_expire, limit))
                if self.ending.is_set():
                    _expire(limit)
                await send(stream.start())
                held = request.hold() if stream.watcher is not None else None
                if held is None:
                    await self._pump(request, stream, send)
        except TimeoutError:
            if not limit.expired():
                raise
        except Exception as error:
            logger.error("a stream broke", exc_info=error, extra={"path": request.path})
            request.abort()
        finally:
            running.dec()
            self._limits.discard(limit)
            request.when_lost(None)
            stream.abandon()
            if held is not None:
                self._hand_over(stream, held)
            else:
                stream.on_end()
            await stream.chunks.aclose()
        if held is None and limit.expired() and self.ending.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(FAREWELL_SECONDS):
                    await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _hand_over(self, stream: Stream, connection: HeldConnection) -> None:
        assert stream.watcher is not None
        watcher = stream.watcher(connection, self.stall_seconds, self._ended)
        self._watchers[watcher] = stream.on_end
        WATCHERS.inc()
        watcher.start()
        if self.ending.is_set():
            watcher.end()

    def _ended(self, watcher: Watcher) -> None:
        if (on_end := self._watchers.pop(watcher, None)) is not None:
            WATCHERS.dec()
            on_end()

    async def serve(self, request: Request, upgrade: Upgrade) -> None:
        """Gives the connection over; whoever takes it ends with ``ending``. Raises what ``Request.upgrade`` raises."""
        try:
            pipe = request.upgrade(upgrade.head)
        except StatusError:
            if upgrade.abandon is not None:
                await upgrade.abandon()
            raise
        try:
            with suppress(OSError), STREAMS.labels(upgrade.kind).track_inprogress():
                await while_there(request, upgrade.serve(pipe))
        except Exception:
            logger.exception("an upgraded connection broke", extra={"path": request.path})
        finally:
            pipe.close()

    async def _pump(self, request: Request, stream: Stream, send: Send) -> None:
        async for chunk in stream.chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            # The next one is not made before this one has left, which is the connection's now.
            del chunk
            if not await has_room(request, self.stall_seconds):
                logger.warning("a client does not read; its stream is given up", extra={"path": request.path})
                request.abort()
                return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _expire(limit: asyncio.Timeout) -> None:
    # Both the client and the server may go, in one turn of the loop.
    if not limit.expired():
        limit.reschedule(asyncio.get_running_loop().time())
