"""A queue of keys for level-based work.

A key that waits is queued once, however often it is added. A key that is being worked on is never
handed out a second time; added meanwhile, it is queued again when its work is done. Everything
happens on one event loop, so no call but ``get`` waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """First in, first out, without duplicates."""

    def __init__(self) -> None:
        self._order: deque[K] = deque()
        self._waiting: set[K] = set()
        self._running: set[K] = set()
        self._getters: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        """Keys that wait, not counting those at work."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Keys at work."""
        return len(self._running)

    def waiting(self) -> Iterator[K]:
        """Keys that wait, in no order; not to be held over an await."""
        return iter(self._waiting)

    def at_work(self) -> Iterator[K]:
        """Keys at work, likewise."""
        return iter(self._running)

    def add(self, key: K) -> None:
        """Queues a key, or marks it to be queued again after the work on it."""
        if key in self._waiting:
            return
        self._waiting.add(key)
        if key not in self._running:
            self._order.append(key)
            self._wake()

    async def get(self) -> K:
        """The next key, now at work; ``done`` must follow."""
        while not self._order:
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except BaseException:
                if getter.done() and not getter.cancelled():
                    self._wake()
                raise
        key = self._order.popleft()
        self._waiting.discard(key)
        self._running.add(key)
        return key

    def done(self, key: K) -> None:
        """Ends the work on a key."""
        self._running.discard(key)
        if key in self._waiting:
            self._order.append(key)
            self._wake()

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return


class Delays(Generic[K]):
    """Calls ``due(key)`` later. Of several times for one key the earliest counts."""

    def __init__(self, due: Callable[[K], None]) -> None:
        self._due = due
        # With the loop's time at which each is due: uvloop's own handle does not tell of a time that has come.
        self._timers: dict[K, tuple[float, asyncio.Handle]] = {}

    def set(self, key: K, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        due, known = loop.time() + max(seconds, 0.0), self._timers.get(key)
        if known is not None:
            if known[0] <= due:
                return
            known[1].cancel()
        self._timers[key] = due, loop.call_at(due, self._fire, key)

    def cancel(self, key: K) -> None:
        known = self._timers.pop(key, None)
        if known is not None:
            known[1].cancel()

    def clear(self) -> None:
        for key in list(self._timers):
            self.cancel(key)

    def remaining(self, key: K) -> float | None:
        """Seconds until a key is due; None when no time is set."""
        known = self._timers.get(key)
        return None if known is None else max(known[0] - asyncio.get_running_loop().time(), 0.0)

    def __len__(self) -> int:
        return len(self._timers)

    def __iter__(self) -> Iterator[K]:
        """Keys for which a time is set; not to be held over an await."""
        return iter(self._timers)

    def _fire(self, key: K) -> None:
        del self._timers[key]
        self._due(key)
