"""Sets of completion indexes, written as Kubernetes writes them: ``1,3-5,7``."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

Interval = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Indexes:
    """Ordered intervals, both ends included, that neither overlap nor touch."""

    intervals: tuple[Interval, ...] = ()

    @classmethod
    def of(cls, indexes: Iterable[int]) -> Indexes:
        return cls(_merged((index, index) for index in indexes))

    @classmethod
    def parse(cls, text: str, completions: int) -> Indexes:
        """Those below ``completions``. What makes no sense is left out, as Kubernetes leaves it out."""
        return cls(_merged(found for part in text.split(",") if (found := _interval(part, completions)) is not None))

    def __str__(self) -> str:
        return ",".join(_text(first, last) for first, last in self.intervals)

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.intervals)

    def __contains__(self, index: int) -> bool:
        place = bisect_right(self.intervals, index, key=lambda interval: interval[0]) - 1
        return place >= 0 and index <= self.intervals[place][1]

    def __or__(self, other: Indexes) -> Indexes:
        return Indexes(_merged([*self.intervals, *other.intervals]))

    def overlap(self, other: Indexes) -> int:
        """How many are in both."""
        return len(self) + len(other) - len(self | other)

    def missing(self, completions: int) -> Iterator[int]:
        """Those below ``completions`` that are not in it, in order."""
        candidate = 0
        for first, last in self.intervals:
            yield from range(candidate, min(first, completions))
            candidate = last + 1
        yield from range(candidate, completions)


def _merged(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    merged: list[Interval] = []
    for first, last in sorted(intervals):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return tuple(merged)


def _interval(text: str, completions: int) -> Interval | None:
    first, dash, last = text.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        return None
    low = int(first)
    high = min(int(last) if dash else low, completions - 1)
    return (low, high) if low <= high else None


def _text(first: int, last: int) -> str:
    if first == last:
        return str(first)
    return f"{first},{last}" if last == first + 1 else f"{first}-{last}"
