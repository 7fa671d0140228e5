"""One question to the store for all who want to know its newest revision at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Newest:
    """Readers that come while a question is under way share the next one: an answer must not be older than who asked."""

    def __init__(self, ask: Callable[[], Awaitable[int]]) -> None:
        self._ask = ask
        self._running: asyncio.Task[int] | None = None
        self._next: asyncio.Task[int] | None = None

    async def revision(self) -> int:
        """A revision that no write answered before this call exceeds. Raises what asking raises."""
        if self._next is None:
            self._next = asyncio.create_task(self._ask_after(self._running), name="newest revision")
            self._next.add_done_callback(_heard)
        return await asyncio.shield(self._next)

    async def _ask_after(self, running: asyncio.Task[int] | None) -> int:
        if running is not None and not running.done():
            await asyncio.wait({running})
        self._running, self._next = self._next, None
        return await self._ask()


def _heard(task: asyncio.Task[int]) -> None:
    """An error is told to those who still wait; that nobody does is none."""
    if not task.cancelled():
        task.exception()
