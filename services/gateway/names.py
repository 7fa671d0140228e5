"""Addresses of ExternalName Services, asked for again and again."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from services.gateway.sources.backends import is_reachable

ANSWER_SECONDS = 5.0


class Names:
    """``changed`` is told of a name whose addresses changed. What no longer resolves keeps its last addresses."""

    def __init__(self, seconds: float, changed: Callable[[str], None]) -> None:
        self._seconds, self._changed = seconds, changed
        self._found: dict[str, tuple[str, ...]] = {}
        self.wanted: set[str] = set()
        self._news = asyncio.Event()

    def addresses(self, name: str) -> tuple[str, ...]:
        """As last seen; none of this machine's own insides. A name that is new is asked for soon."""
        if name not in self.wanted:
            self.wanted.add(name)
            self._news.set()
        return self._found.get(name, ())

    def only(self, wanted: set[str]) -> None:
        self.wanted &= wanted
        self._found = {name: found for name, found in self._found.items() if name in self.wanted}

    async def run(self) -> None:
        while True:
            for name in sorted(self.wanted):
                await self._look(name)
            self._news.clear()
            try:
                async with asyncio.timeout(self._seconds if self.wanted else None):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def _look(self, name: str) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await asyncio.get_running_loop().getaddrinfo(name, None, family=socket.AF_INET, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError, UnicodeError):
            return
        found = tuple(sorted({str(each[4][0]) for each in answer if is_reachable(str(each[4][0]))}))
        if found != self._found.get(name, ()):
            self._found[name] = found
            self._changed(name)
