"""Follows the file of an AuthorizationConfiguration: who decides changes without a restart, and a file that is wrong changes nothing."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from knarr.service.errors import CommandError
from knarr.service.file_marks import FileMarks
from services.apiserver.authorizers.catalog import Parts
from services.apiserver.authorizers.chain import Chain, close
from services.apiserver.authorizers.configuration import read_modes

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
# Who was asked under the former file has answered by then.
GRACE_SECONDS = 60.0


class Reloading:
    """``run`` it until cancelled."""

    def __init__(self, file: Path, chain: Chain, parts: Parts) -> None:
        """Reads the file once; raises CommandError."""
        self._file, self._chain, self._parts = file, chain, parts
        self._marks = FileMarks([file])
        chain.modes = tuple(read_modes(file, parts))

    async def run(self) -> None:
        leaving: set[asyncio.Task[None]] = set()
        try:
            async for _ in self._marks.changes(LOOK_SECONDS):
                if (task := self._reload()) is not None:
                    leaving.add(task)
                    task.add_done_callback(leaving.discard)
        finally:
            for task in leaving:
                task.cancel()
            await close(self._chain.modes)

    def _reload(self) -> asyncio.Task[None] | None:
        try:
            modes = tuple(read_modes(self._file, self._parts))
        except CommandError as error:
            log.error("the authorizers stay as they are: %s", error)
            return None
        former, self._chain.modes = self._chain.modes, modes
        log.info("who decides what callers may do was read anew", extra={"authorizers": ", ".join(mode.name for mode in modes)})
        return asyncio.create_task(_leave(former), name="apiserver/former authorizers")


async def _leave(modes: tuple[object, ...]) -> None:
    await asyncio.sleep(GRACE_SECONDS)
    await close(modes)
