"""The clock port: what time it is, for stamps that others read.

Waiting is the event loop's business (``asyncio.sleep``, ``loop.time``), so that a test which runs
on a loop with virtual time needs only a clock that follows it.
"""

from __future__ import annotations

import abc
from datetime import UTC, datetime


class Clock(abc.ABC):
    """Tells the time of day."""

    @abc.abstractmethod
    def now(self) -> datetime:
        """The current time, timezone-aware, in UTC."""


class _SystemClock(Clock):
    def now(self) -> datetime:
        return datetime.now(UTC)


SYSTEM_CLOCK: Clock = _SystemClock()
