"""How often a part of a cluster was begun in this process, and how it ended the last time."""

from __future__ import annotations

from datetime import datetime

from knarr.client.clock import SYSTEM_CLOCK, Clock
from services.kubelet.parts.port import End


class Runs:
    """Of one part."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._count = 0
        # Since when it runs; None: it does not.
        self.began: datetime | None = None
        self.last: End | None = None

    @property
    def number(self) -> int:
        """Of the run that goes on, or was the last: from 0 on."""
        return max(self._count - 1, 0)

    def begin(self) -> None:
        self._count += 1
        self.began = self._clock.now()

    def end(self, code: int, words: str = "") -> None:
        """``code`` is 0 where it was to end. Nothing where it does not run."""
        if self.began is not None:
            self.last, self.began = End(self.began, self._clock.now(), code, words), None
