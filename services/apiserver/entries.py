"""Some entries of a collection, as they were at one moment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from knarr.machinery.resources import Version
from services.apiserver.entry import Entry

# What is done for a block of so many entries is done at once.
BLOCK = 256

Block = Sequence[Entry]


class Entries(Sequence[Entry]):
    """Some entries in key order as they were at one moment; nothing changes them. ``blocks`` are their parts, none of them empty.

    ``joined`` is for who writes them all as JSON (the items of a list and its end), ``converted`` for who has them made in other versions,
    to be used again while they are what there is. ``squeezed`` is ``joined``, compressed.
    """

    __slots__ = ("blocks", "converted", "joined", "squeezed")

    def __init__(self, blocks: Iterable[Block] = ()) -> None:
        self.blocks: Sequence[Block] = [block for block in blocks if block]
        self.joined: bytes | None = None
        self.squeezed: Any = None
        self.converted: dict[Version, Entries] = {}

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Entries:
        return cls(entries[first : first + BLOCK] for first in range(0, len(entries), BLOCK))

    def first(self, count: int) -> Entries:
        """The first of them, so many at most."""
        found: list[Block] = []
        for block in self.blocks:
            if count <= 0:
                break
            found.append(block[:count])
            count -= len(block)
        return Entries(found)

    def __len__(self) -> int:
        return sum(map(len, self.blocks))

    def __iter__(self) -> Iterator[Entry]:
        return chain.from_iterable(self.blocks)

    def __getitem__(self, index: int) -> Entry:  # type: ignore[override]
        """Counted from the beginning, or from the end; no slices."""
        blocks, step = (self.blocks, 1) if index >= 0 else (self.blocks[::-1], -1)
        place = index if index >= 0 else -1 - index
        for block in blocks:
            if place < len(block):
                return block[::step][place]
            place -= len(block)
        raise IndexError(index)
