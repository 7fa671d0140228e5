"""Whether something is to run: it waits until it may, and ends when it no longer may."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from knarr.service.tasks import cancel


class Switch:
    """On at first."""

    def __init__(self) -> None:
        self._on, self._off = asyncio.Event(), asyncio.Event()
        self._on.set()

    def turn(self, on: bool) -> None:
        now, before = (self._on, self._off) if on else (self._off, self._on)
        before.clear()
        now.set()

    async def wait_on(self) -> None:
        await self._on.wait()

    async def while_on(self, work: Coroutine[Any, Any, None]) -> None:
        """Does the work, which is cancelled when this is turned off. Raises what the work does."""
        running, off = asyncio.create_task(work), asyncio.create_task(self._off.wait())
        try:
            await asyncio.wait([running, off], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
        finally:
            await cancel([running, off])
