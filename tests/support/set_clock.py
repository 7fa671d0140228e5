"""A clock that stands still until it is moved."""

from __future__ import annotations

from datetime import datetime, timedelta

from knarr.client.clock import Clock
from tests.support.virtual_time import START


class SetClock(Clock):
    """Begins at ``START``."""

    def __init__(self) -> None:
        self.at = START

    def now(self) -> datetime:
        return self.at

    def elapsed(self) -> float:
        return (self.at - START).total_seconds()

    def move(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
