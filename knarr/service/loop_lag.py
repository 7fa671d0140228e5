"""How late the event loop comes to what is due, and who held it up.

A beat on the loop measures; a thread beside it looks, when a beat is late, which task is running just then. One late beat is one line.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time

from prometheus_client import Histogram

log = logging.getLogger(__name__)

BEAT_SECONDS = 0.05
# Longer than this nothing may hold the loop.
HELD_SECONDS = 0.05

LAG_SECONDS = Histogram(
    "knarr_loop_lag_seconds",
    "How late the event loop came to a beat that is due twenty times a second.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
)


class LoopLag:
    """Measures the running loop until ``run`` is cancelled."""

    def __init__(self) -> None:
        self._due = 0.0
        self._holder = ""
        self._ended = threading.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = time.monotonic() + BEAT_SECONDS
        watcher = threading.Thread(target=self._watch, args=(loop,), name="loop lag", daemon=True)
        watcher.start()
        try:
            while True:
                await asyncio.sleep(BEAT_SECONDS)
                self._beat(time.monotonic())
        finally:
            self._ended.set()

    def _beat(self, now: float) -> None:
        lag, holder, self._holder = now - self._due, self._holder, ""
        self._due = now + BEAT_SECONDS
        LAG_SECONDS.observe(max(0.0, lag))
        if lag > HELD_SECONDS and holder:
            log.warning("the event loop was held up", extra={"seconds": round(lag, 3), "by": holder})

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            if time.monotonic() - self._due > HELD_SECONDS / 2 and not self._holder:
                task = asyncio.current_task(loop)
                self._holder = task.get_name()[:512] if task is not None else ""
