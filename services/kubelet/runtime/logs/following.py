"""A log as its reader gets it, at the speed of whoever takes it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from knarr.service.tasks import cancel
from services.kubelet.runtime.logs.entries import Entry, Joiner, stamp_of
from services.kubelet.runtime.logs.files import LogFiles
from services.kubelet.runtime.logs.reader import HELD_BYTES, LogReader
from services.kubelet.runtime.port import LogOptions, RuntimeFailure

log = logging.getLogger(__name__)

# How often a log that is followed is looked at where nothing came, and how often for new files where there is more than was taken yet.
FOLLOW_SECONDS, HOLD_SECONDS = 0.1, 0.05
# From when on whoever takes nothing is no reason to keep from the disk what the engine has removed.
STALLED_SECONDS = 60.0


async def read_log(files: LogFiles, options: LogOptions, runs: Callable[[], bool]) -> AsyncIterator[bytes]:
    """As ``Runtime.logs``; ``runs`` tells whether more may be written."""
    joiner = Joiner(stamps=options.timestamps, since=stamp_of(options.since) if options.since else b"", stream=options.stream)
    reader = LogReader(files)
    try:
        await asyncio.to_thread(reader.begin, options.tail_lines, follow=options.follow)
        follower = Follower(reader, lambda: options.follow and runs())
        async with aclosing(follower.entries()) as stream:  # type: ignore[type-var]
            async for entries in stream:
                if data := joiner.join(entries):
                    yield data
    except OSError as error:
        raise RuntimeFailure(f"the container's log cannot be read: {error}") from error
    finally:
        reader.close()


class Follower:
    """Reads until nothing more comes. Whoever takes it slowly is not read ahead of: what is held for them are files, not bytes."""

    def __init__(self, reader: LogReader, goes_on: Callable[[], bool]) -> None:
        self._reader, self._goes_on = reader, goes_on
        # When something was taken last, and whether that was all.
        self._taken, self._drained = 0.0, False

    async def entries(self) -> AsyncIterator[list[Entry]]:
        """A container that ended before a look is looked at once more: the engine has written all by then. Raises OSError."""
        now = asyncio.get_running_loop().time
        self._taken, more = now(), self._goes_on()
        keeper = [asyncio.create_task(self._hold(), name="kubelet/log-files")] if more else []
        try:
            while True:
                while (entries := await asyncio.to_thread(self._reader.read)) is not None:
                    self._drained = False
                    yield entries
                    self._taken = now()
                if not more:
                    return
                self._drained = True
                await asyncio.sleep(FOLLOW_SECONDS)
                self._taken, more = now(), self._goes_on()
        finally:
            await cancel(keeper)

    async def _hold(self) -> None:
        """Opens the files that come while nobody has read as far: they may be removed by then."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(HOLD_SECONDS)
            if self._drained:
                # Then the reader looks for itself.
                continue
            stalled = loop.time() - self._taken > STALLED_SECONDS
            try:
                await asyncio.to_thread(self._reader.hold, 0 if stalled else HELD_BYTES)
            except OSError as error:
                log.warning("a log's new files cannot be opened", extra={"error": str(error)})
