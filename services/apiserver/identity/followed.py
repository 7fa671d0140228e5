"""What the file of an AuthenticationConfiguration says, and goes on to say while the server runs: issuers of tokens, and anonymous callers.

Loaded by those alone who have such a file: it brings a client of HTTP and CEL.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from knarr.service.errors import CommandError
from knarr.service.file_marks import FileMarks
from services.apiserver.identity.anonymous import Anonymous
from services.apiserver.identity.configuration import read_authentication
from services.apiserver.identity.jwt.tokens import IssuedTokens

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0


class Followed:
    """``issued`` knows the tokens of the issuers. ``run`` it. Raises CommandError for a file that is no good."""

    def __init__(self, file: Path, now: Callable[[], datetime]) -> None:
        self._file, self._marks = file, FileMarks([file])
        self._said = read_authentication(file)
        self.issued = IssuedTokens(now)
        self.issued.follow(self._said.issuers)

    @property
    def anonymous(self) -> Anonymous | None:
        return self._said.anonymous

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.issued.run(), name="apiserver/issuers of tokens")
            tasks.create_task(self._look(), name="apiserver/authentication configuration")

    async def _look(self) -> None:
        async for _ in self._marks.changes(LOOK_SECONDS):
            self.take()

    def take(self) -> None:
        """What the file says counts from now on; one that is no good changes nothing."""
        try:
            self._said = read_authentication(self._file)
        except CommandError as error:
            log.error("the authentication configuration is no good; the former one holds on", extra={"error": error})
            return
        self.issued.follow(self._said.issuers)
        log.info("the authentication configuration was read anew", extra={"path": str(self._file), "issuers": len(self._said.issuers)})
