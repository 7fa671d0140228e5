"""Objects whose statuses are to be written: each once, however often it is looked at meanwhile, and again where that failed."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Iterable

from knarr.machinery.errors import Conflict, NotFound, StatusError
from services.gateway.routing.table import Origin

log = logging.getLogger(__name__)

# After a failure; and where the cache is a little behind.
RETRY_SECONDS, BEHIND_SECONDS = 1.0, 0.05


class Reports:
    """They wait in the order in which they were first asked for."""

    def __init__(self) -> None:
        self._waiting: dict[Origin, None] = {}
        self._news = asyncio.Event()

    def ask(self, origins: Iterable[Origin]) -> None:
        self._waiting.update(dict.fromkeys(origins))
        if self._waiting:
            self._news.set()

    async def run(self, report: Callable[[Origin], Awaitable[None]]) -> None:
        """Until cancelled. What is gone needs no report."""
        while True:
            while self._waiting:
                origin = next(iter(self._waiting))
                del self._waiting[origin]
                try:
                    await report(origin)
                except NotFound:
                    continue
                except Conflict:
                    self._waiting[origin] = None
                    await asyncio.sleep(BEHIND_SECONDS)
                except StatusError as error:
                    log.warning("a status could not be written", extra={"of": str(origin), "error": str(error)})
                    self._waiting[origin] = None
                    await asyncio.sleep(RETRY_SECONDS)
            self._news.clear()
            await self._news.wait()


def is_address(text: str) -> bool:
    """Or else a name, by which some load balancers are reached."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
