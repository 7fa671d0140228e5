"""A watch whose answer goes on without a task while there is nothing to tell.

There may be thousands, and nearly all of them rest nearly always. At rest one is its place in the history and its connection; woken, it
writes what is small at once. What is large, or finds the connection full, becomes a task's affair until all is told again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from operator import is_

from knarr.machinery.errors import StatusError
from services.apiserver.pipeline.watch import Watch
from services.apiserver.rest.flow import has_room
from services.apiserver.rest.frames import pieces
from services.apiserver.rest.objects import Representation
from services.apiserver.rest.request import HeldConnection
from services.apiserver.results import Event

logger = logging.getLogger(__name__)

# What is written at once: a dozen changes of a kilobyte. So much lies in the server for a client that does not read, before it is a task's
# affair to wait for it.
SMALL_BYTES = 16 * 1024


class Watcher:
    """Runs from ``start`` until the watch is over, the client gone, or ``end``; then ``on_end`` is called with it, once."""

    __slots__ = ("_connection", "_is_over", "_on_end", "_representation", "_stall_seconds", "_task", "_watch")

    def __init__(
        self,
        watch: Watch,
        representation: Representation,
        connection: HeldConnection,
        stall_seconds: float,
        on_end: Callable[[Watcher], None],
    ) -> None:
        self._watch, self._representation, self._connection = watch, representation, connection
        self._stall_seconds, self._on_end = stall_seconds, on_end
        self._task: asyncio.Task[None] | None = None
        self._is_over = False

    def start(self) -> None:
        self._work(())
        self._connection.when_lost(self._leave)

    def woken(self) -> None:
        """There may be more to tell."""
        if self._is_over:
            return
        if self._connection.is_full():
            self._work(())
            return
        try:
            batch = self._watch.take()
            if batch is None:
                self.end()
            elif not batch:
                self._watch.sleep(self)
            elif (small := self._small(batch)) is None:
                self._work(batch)
            else:
                self._connection.write(small)
                self._watch.sleep(self)
        except StatusError as error:
            self.end(self._representation.error(error.status))
        except Exception as error:
            self._break(error)

    def _small(self, batch: Sequence[Event]) -> bytes | None:
        """The frames of a batch; None when they are more than is written at once, or take more than a moment to make. Most watchers are
        told what another one was told just before: it is put together once for all of them."""
        told, frames = self._representation.told
        if len(told) == len(batch) and all(map(is_, told, batch)):
            return frames
        size = 0
        for event in batch:
            if event.entry is not None:
                size += len(event.entry.raw)
        if size > SMALL_BYTES:
            return None
        frames = b"".join([part for event in batch for part in self._representation.event(event)])
        if self._representation.is_shared:
            self._representation.told = batch, frames
        return frames

    def _work(self, batch: Sequence[Event]) -> None:
        self._task = asyncio.create_task(self._tell(batch), name="watch")

    async def _tell(self, batch: Sequence[Event] | None) -> None:
        """Tells a batch, and all that there is behind it; then the watch rests again."""
        try:
            if not self._watch.has_begun:
                await self._watch.begin()
            if not await self._has_room():
                return
            while batch is not None:
                async for piece in pieces(self._representation, batch):
                    self._connection.write(piece)
                    # The next one is not made before this one has left, which is the connection's now.
                    del piece
                    if not await self._has_room():
                        return
                batch = self._watch.take()
                if batch is not None and not batch:
                    self._task = None
                    self._watch.sleep(self)
                    return
        except StatusError as error:
            self._task = None
            self.end(self._representation.error(error.status))
        except Exception as error:
            self._task = None
            self._break(error)
        else:
            self._task = None
            self.end()

    async def _has_room(self) -> bool:
        """Waits until the connection takes more; False when that took too long, and it is dropped."""
        if await has_room(self._connection, self._stall_seconds):
            return True
        logger.warning("a client does not read; its watch is given up")
        self._task = None
        self.drop()
        return False

    def end(self, last: bytes = b"") -> None:
        """Ends the answer, as a complete one."""
        if not self._is_over:
            self._leave()
            if last:
                self._connection.write(last)
            self._connection.release()

    def _break(self, error: Exception) -> None:
        logger.error("a watch broke", exc_info=error)
        self.drop()

    def drop(self) -> None:
        """Ends the answer in the middle, with its connection."""
        self._connection.abort()
        self._leave()

    def _leave(self) -> None:
        """Lets go of everything; a second time nothing happens."""
        if self._is_over:
            return
        self._is_over = True
        self._connection.when_lost(None)
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._watch.leave(self)
        self._watch.close()
        self._on_end(self)
