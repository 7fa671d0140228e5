"""The clock port: what time it is, for stamps that others read, and how much of it has passed, for promises to others.

Waiting is the event loop's business (``asyncio.sleep``, ``loop.time``), so that a test which runs
on a loop with virtual time needs only a clock that follows it.
"""

from __future__ import annotations

import abc
import time
from datetime import UTC, datetime


class Clock(abc.ABC):
    """Tells the time of day."""

    @abc.abstractmethod
    def now(self) -> datetime:
        """The current time, timezone-aware, in UTC."""

    @abc.abstractmethod
    def elapsed(self) -> float:
        """Seconds since some beginning that never changes. They pass, too, while this process is stopped and the machine sleeps."""


class _SystemClock(Clock):
    def now(self) -> datetime:
        return datetime.now(UTC)

    def elapsed(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)


SYSTEM_CLOCK: Clock = _SystemClock()
