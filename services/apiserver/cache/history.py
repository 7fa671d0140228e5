"""The recent changes of one collection: a ring that watchers read at their own pace.

Watchers hold a position, not a buffer, so one that never reads costs nothing: the ring moves on
and the watcher learns that its position has expired. The ring is bounded by count, bytes and age.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from services.apiserver.entry import Entry
from services.apiserver.results import Event

# Which part of the limits those changes may take that are no longer fresh.
OLD_PART = 8
# The newest changes keep their JSON and decoded message while all watchers come to read them; older ones make them again when asked.
WARM, WARM_SECONDS = 256, 30.0
# What a change takes beside its object's bytes: those of small objects are mostly this.
CHANGE_BYTES = 512


@dataclass(frozen=True, slots=True)
class Limits:
    """At most ``count`` changes and ``max_bytes``, CHANGE_BYTES for each and its serialized bytes; older than ``age_seconds`` go too.

    Of those older than ``fresh_seconds`` only a small part of both is held: whoever watches is told a bookmark each minute, and Kubernetes
    holds no more in any case. So what a busy hour has brought is soon let go.
    """

    count: int = 10_000
    max_bytes: int = 8 * 1024 * 1024
    age_seconds: float = 600.0
    fresh_seconds: float = 75.0


class HistoryChange(NamedTuple):
    """``event`` as an unfiltered watcher sees it; ``previous`` is what was there before."""

    event: Event
    previous: Entry | None
    at_seconds: float


class Overrun(Exception):
    """The ring no longer holds what was asked for; ``oldest`` is the first revision that it holds."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"history begins at revision {oldest}")
        self.oldest = oldest


class History:
    """Changes in the order of their revisions. Positions count changes since the start."""

    def __init__(self, floor: int, limits: Limits) -> None:
        self._limits = limits
        self._changes: list[HistoryChange] = []
        self._first = 0
        self._dropped = 0
        # The position of the first change that may be warm.
        self._warm = 0
        self._bytes = 0
        self._floor = floor

    @property
    def floor(self) -> int:
        """Changes after this revision are all held."""
        return self._floor

    @property
    def end(self) -> int:
        """The position after the newest change."""
        return self._first + len(self._changes)

    def append(self, change: HistoryChange) -> None:
        self._changes.append(change)
        self._bytes += _size(change)
        self.trim(change.at_seconds)

    def forget(self, revision: int) -> None:
        """Drops everything: no position that was given before is valid any more."""
        self._first = self.end + 1
        self._changes, self._dropped, self._bytes, self._floor, self._warm = [], 0, 0, revision, self._first

    def position_after(self, revision: int) -> int:
        """The position of the first change after ``revision``; raises Overrun."""
        if revision < self._floor:
            raise Overrun(self._floor)
        return self._first + bisect_right(self._changes, revision, lo=self._dropped, key=lambda change: change.event.revision)

    def since(self, position: int, limit: int, max_bytes: int | None = None) -> Sequence[HistoryChange]:
        """At most ``limit`` changes from ``position`` on, and no more after ``max_bytes``; raises Overrun."""
        start = position - self._first
        if start < self._dropped:
            raise Overrun(self._floor)
        found = self._changes[start : start + limit]
        if max_bytes is None or len(found) < 2:
            return found
        return found[: 1 + bisect_right(list(accumulate(map(_size, found))), max_bytes)]

    def trim(self, now: float) -> None:
        """Lets go of what is beyond the limits. Asked for now and then, also the changes of a collection that rests grow old."""
        self._cool(now)
        changes = self._changes
        while self._dropped < len(changes) and self._is_beyond(now - changes[self._dropped].at_seconds):
            oldest = changes[self._dropped]
            self._bytes -= _size(oldest)
            self._floor = max(self._floor, oldest.event.revision)
            self._dropped += 1
            changes[self._dropped - 1] = _DROPPED
        if self._dropped > 1024 or self._dropped == len(changes):
            del changes[: self._dropped]
            self._first += self._dropped
            self._dropped = 0

    def _is_beyond(self, age_seconds: float) -> bool:
        """Whether the oldest change that is held, of this age, is to go."""
        limits, count = self._limits, len(self._changes) - self._dropped
        if count > limits.count or self._bytes > limits.max_bytes or age_seconds > limits.age_seconds:
            return True
        return age_seconds > limits.fresh_seconds and (count > limits.count // OLD_PART or self._bytes > limits.max_bytes // OLD_PART)

    def _cool(self, now: float) -> None:
        """Drops what can be made again, of each change once: a present object may be asked for often."""
        self._warm = max(self._warm, self._first + self._dropped)
        while self._warm < self.end:
            change = self._changes[self._warm - self._first]
            if self.end - self._warm <= WARM and change.at_seconds >= now - WARM_SECONDS:
                return
            for entry in (change.event.entry, change.previous):
                if entry is not None:
                    entry.forget_derived()
            self._warm += 1


_DROPPED = HistoryChange(Event("", 0), None, 0.0)


def _size(change: HistoryChange) -> int:
    return CHANGE_BYTES + (len(change.event.entry.raw) if change.event.entry else 0)
