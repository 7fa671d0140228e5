"""What a node has for no pod that runs, and gives up before it ends one: dead containers and what they left, then images."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection

from services.kubelet.eviction.measure import Evictable

# How long it waits for the workers to remove what they let go.
PATIENCE_SECONDS = 15.0


class Reclaimer:
    """Of one node. ``images`` gives up the images that nobody uses."""

    def __init__(self, pods: Callable[[], Collection[Evictable]], images: Callable[[], Awaitable[None]]) -> None:
        self._pods, self._images = pods, images

    async def reclaim(self) -> None:
        """Returns when it is done, or has taken long enough."""
        ended = [found for found in self._pods() if not found.is_active]
        for found in ended:
            found.let_go()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.gather(*(found.settled.wait() for found in ended))
        await self._images()
