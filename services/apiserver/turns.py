"""Turns: who would write the same object at once, and fail all but one, writes one after the other."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from services.apiserver.deadline import within


class Turns:
    """By the key of what is written. In one API server only: another one may still come between."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, key: str, deadline: float = math.inf) -> AsyncIterator[None]:
        """Holds the turn of ``key``; raises Timeout when it does not come before the event loop's time ``deadline``."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        await within(deadline, lock.acquire(), "other writers of the same object")
        try:
            yield
        finally:
            lock.release()
