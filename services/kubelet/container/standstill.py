"""Whether this process stood still while something was waited for: stopped by `knarr pause`, or kept from the processor.

Time-outs run on meanwhile, so that what had no time to answer looks like what does not answer.
"""

from __future__ import annotations

import asyncio
from typing import Self

# How often it is looked, and by how much a look is late where it stood still.
LOOK_SECONDS, LATE_SECONDS = 0.5, 1.0


class Standstill:
    """Within its block: ``happened``. Needs a running loop."""

    def __init__(self) -> None:
        self.happened = False
        self._loop = asyncio.get_running_loop()
        self._seen = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._look()
        return self

    def __exit__(self, *_: object) -> None:
        self._see()
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._see()
        self._timer = self._loop.call_later(LOOK_SECONDS, self._look)

    def _see(self) -> None:
        now = self._loop.time()
        self.happened = self.happened or now - self._seen >= LOOK_SECONDS + LATE_SECONDS
        self._seen = now
