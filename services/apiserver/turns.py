"""Turns: who would write the same object at once, and fail all but one, writes one after the other."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from weakref import WeakValueDictionary

from knarr.machinery.errors import Timeout
from services.apiserver.deadline import within

# A turn that has not come by then is not waited for: whoever has it may wait for the very one who would like to have it, as a write does
# whose webhook writes the same object.
PATIENCE_SECONDS = 5.0


class Turns:
    """By the key of what is written. In one API server only: another one may still come between."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, key: str, deadline: float = math.inf) -> AsyncIterator[None]:
        """Holds the turn of ``key``; raises Timeout when it does not come before the event loop's time ``deadline``."""
        lock = self.lock_of(key)
        await within(deadline, lock.acquire(), "other writers of the same object")
        try:
            yield
        finally:
            lock.release()

    def racer(self, key: str, deadline: float) -> Racer:
        return Racer(self, key, deadline)

    def is_taken(self, key: str) -> bool:
        lock = self._locks.get(key)
        return lock is not None and lock.locked()

    def lock_of(self, key: str) -> asyncio.Lock:
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        return lock


class Racer:
    """Who writes without a turn for as long as nobody was faster, since most are alone; from then on he, and whoever comes after him,
    waits for one. Else each round of a crowd would have one winner, and some would lose them all.

    To be entered, and told of each race that was ``lost``; both raise Timeout at the event loop's time ``deadline``.
    """

    __slots__ = ("_deadline", "_key", "_lock", "_turns", "_waited")

    def __init__(self, turns: Turns, key: str, deadline: float) -> None:
        self._turns, self._key, self._deadline = turns, key, deadline
        self._lock: asyncio.Lock | None = None
        self._waited = False

    async def __aenter__(self) -> Racer:
        if self._turns.is_taken(self._key):
            await self.lost()
        return self

    async def lost(self) -> bool:
        """Somebody was faster; whether there was a wait, so that what was known of the object is old."""
        if self._waited:
            return False
        self._waited = True
        lock, end = self._turns.lock_of(self._key), asyncio.get_running_loop().time() + PATIENCE_SECONDS
        try:
            await within(min(self._deadline, end), lock.acquire(), "other writers of the same object")
        except Timeout:
            if self._deadline <= end:
                raise
        else:
            self._lock = lock
        return True

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._lock is not None:
            self._lock.release()
