"""Answers that several browsers ask for at once, and again and again: each is got once for all of them, and kept for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from knarr.client.clock import SYSTEM_CLOCK, Clock

T = TypeVar("T")


class Shared(Generic[T]):
    """What ``get`` answers, no older than ``seconds``. What it raises is raised to all who waited for it, and not kept."""

    def __init__(self, get: Callable[[], Awaitable[T]], seconds: float, clock: Clock = SYSTEM_CLOCK) -> None:
        self._get, self._seconds, self._clock = get, seconds, clock
        self._kept: tuple[float, T] | None = None
        self._lock = asyncio.Lock()

    async def __call__(self) -> T:
        asked = self._clock.elapsed()
        async with self._lock:
            # What was got while this one waited is as new as what it would get.
            if self._kept is None or asked - self._kept[0] > self._seconds:
                self._kept = None
                got = await self._get()
                self._kept = self._clock.elapsed(), got
            return self._kept[1]
