"""Entries in the order of their keys, of which a picture costs next to nothing however many there are.

They lie in blocks that never change: a write makes its block anew, and a picture is the list of blocks of that moment. So neither a page
of some hundred objects nor the beginning of a watch copies, or holds the loop for, a collection of hundreds of thousands.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import chain
from operator import attrgetter

from services.apiserver.entries import BLOCK, Entries
from services.apiserver.entry import Entry

_KEY = attrgetter("key")


class Ordered:
    """The entries of a collection, each under its key."""

    __slots__ = ("_blocks", "_firsts")

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._blocks: list[tuple[Entry, ...]] = []
        # The first key of each block.
        self._firsts: list[str] = []
        ordered = sorted(entries, key=_KEY)
        for first in range(0, len(ordered), BLOCK):
            self._blocks.append(tuple(ordered[first : first + BLOCK]))
            self._firsts.append(ordered[first].key)

    def put(self, entry: Entry) -> None:
        """Adds an entry, or takes it for the one that has its key."""
        if not self._blocks:
            self._set(0, [entry])
            return
        place, index = self._place(entry.key)
        block = list(self._blocks[place])
        if index < len(block) and block[index].key == entry.key:
            block[index] = entry
        else:
            block.insert(index, entry)
        self._set(place, block)

    def remove(self, key: str) -> None:
        """Takes out an entry that is there."""
        place, index = self._place(key)
        block = list(self._blocks[place])
        del block[index]
        self._set(place, block)

    def between(self, low: str, high: str) -> Entries:
        """The entries with keys from ``low`` on, up to ``high`` without it."""
        if not self._blocks:
            return Entries()
        (first, begin), (last, end) = self._place(low), self._place(high)
        if first == last:
            return Entries([self._blocks[first][begin:end]])
        return Entries([self._blocks[first][begin:], *self._blocks[first + 1 : last], self._blocks[last][:end]])

    def __iter__(self) -> Iterator[Entry]:
        return chain.from_iterable(self._blocks)

    def _place(self, key: str) -> tuple[int, int]:
        """The block where a key belongs, and its place there."""
        place = max(bisect_right(self._firsts, key) - 1, 0)
        return place, bisect_left(self._blocks[place], key, key=_KEY)

    def _set(self, place: int, block: list[Entry]) -> None:
        """Puts a block in place of one; none for an empty one, two for one that is too long."""
        if len(block) <= BLOCK:
            parts = [tuple(block)] if block else []
        elif place == len(self._blocks) - 1:
            # Keys that come in order leave full blocks behind.
            parts = [tuple(block[:BLOCK]), tuple(block[BLOCK:])]
        else:
            parts = [tuple(block[: BLOCK // 2]), tuple(block[BLOCK // 2 :])]
        self._blocks[place : place + 1] = parts
        self._firsts[place : place + 1] = [part[0].key for part in parts]
