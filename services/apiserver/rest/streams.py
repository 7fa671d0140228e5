"""Runs streamed answers: ends them with their client, with the server, or when a client stops reading."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from knarr.machinery.errors import StatusError
from services.apiserver.rest.metrics import STREAMS
from services.apiserver.rest.request import Request, Send
from services.apiserver.rest.response import Stream, Upgrade

logger = logging.getLogger(__name__)

# A connection that takes nothing for so long is given up.
STALL_SECONDS = 60.0
FAREWELL_SECONDS = 0.5


class Streams:
    """The open streams of one server."""

    def __init__(self, stall_seconds: float = STALL_SECONDS) -> None:
        self.stall_seconds = stall_seconds
        self.ending = asyncio.Event()

    def end(self) -> None:
        """Ends every stream, now and later: their clients see a complete answer."""
        self.ending.set()

    async def send(self, request: Request, stream: Stream, send: Send) -> None:
        """Writes a stream to its end."""
        tasks = [
            asyncio.create_task(self._pump(request, stream, send), name=f"stream {request.path}"),
            asyncio.create_task(request.disconnected(), name=f"disconnect {request.path}"),
            asyncio.create_task(self.ending.wait(), name=f"server end {request.path}"),
        ]
        try:
            with STREAMS.labels(stream.kind).track_inprogress():
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            stream.abandon()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            await stream.chunks.aclose()
        if isinstance(results[0], Exception):
            logger.error("a stream broke", exc_info=results[0], extra={"path": request.path})
            request.abort()
        elif self.ending.is_set() and results[1] is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(FAREWELL_SECONDS):
                    await send({"type": "http.response.body", "body": b"", "more_body": False})

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
                await upgrade.serve(pipe)
        except Exception:
            logger.exception("an upgraded connection broke", extra={"path": request.path})
        finally:
            pipe.close()

    async def _pump(self, request: Request, stream: Stream, send: Send) -> None:
        await send(stream.start())
        async for chunk in stream.chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            # The next one is not made before this one has left, which is the connection's now.
            del chunk
            if (drained := request.drained()) is None:
                continue
            try:
                async with asyncio.timeout(self.stall_seconds):
                    await drained
            except TimeoutError:
                logger.warning("a client does not read; its stream is given up", extra={"path": request.path})
                request.abort()
                return
        await send({"type": "http.response.body", "body": b"", "more_body": False})
