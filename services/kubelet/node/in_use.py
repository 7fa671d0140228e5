"""Which attached volumes the Node says to be in use: none of them is detached while it does, and none is mounted before it does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

# How long a status may take to be written before it is tried again.
PATIENCE_SECONDS = 30.0


class VolumesInUse:
    """By the names that Nodes call volumes by."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._reported: frozenset[str] = frozenset()
        self._told = asyncio.Event()
        self._on_change: Callable[[], None] = lambda: None

    def on_change(self, listener: Callable[[], None]) -> None:
        self._on_change = listener

    @property
    def names(self) -> tuple[str, ...]:
        """In order."""
        return tuple(sorted(self._names))

    def add(self, *names: str) -> None:
        if not self._names.issuperset(names):
            self._names.update(names)
            self._on_change()

    def discard(self, name: str) -> None:
        if name in self._names:
            self._names.discard(name)
            self._on_change()

    def report(self, names: Collection[str]) -> None:
        """These are in the Node's status now."""
        self._reported = frozenset(names)
        self._told.set()
        self._told = asyncio.Event()

    async def reported(self, name: str) -> None:
        """Until the Node's status names it. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while name not in self._reported:
                await self._told.wait()
