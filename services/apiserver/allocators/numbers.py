"""A range of numbers of which some are taken, as Kubernetes' ``RangeAllocation`` holds it. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterable, Set

TRIES = 32
SOURCE = random.Random()
# What Kubernetes leaves to those who ask for a number of their own: a part of the range, within bounds.
LEAST_RESERVED = 16
PORTS_RESERVED = (32, 128)


class NumberRange:
    """Numbers from ``first`` to ``last``, both included; as text ``first-last``.

    The lower part is for those who ask for a certain number: others get one of it only when nothing else is free.
    """

    def __init__(self, first: int, last: int, reserved: int | None = None) -> None:
        """``reserved`` is the size of that lower part; None for what Kubernetes makes it for node ports."""
        self.first, self.last = first, last
        self.reserved = reserved_of(last - first + 1, *PORTS_RESERVED) if reserved is None else reserved

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last

    def choose(self, taken: Set[int], source: random.Random = SOURCE) -> int | None:
        """A random free number; None when there is none."""
        middle = self.first + self.reserved
        found = _choose(middle, self.last, taken, source)
        return _choose(self.first, middle - 1, taken, source) if found is None else found

    def encode(self, taken: Set[int]) -> bytes:
        """The bitmap: bit ``n`` stands for the number ``first + n``; the highest byte comes first."""
        return self.flip(b"", taken)

    def flip(self, data: bytes, numbers: Iterable[int]) -> bytes:
        """The bitmap after each of ``numbers`` was taken, or given back if it was taken."""
        bits = bytearray(data.rjust((self.last - self.first) // 8 + 1, b"\0"))
        for number in numbers:
            offset = number - self.first
            bits[-1 - offset // 8] ^= 1 << offset % 8
        return bytes(bits).lstrip(b"\0")

    def decode(self, data: bytes) -> set[int]:
        found = set()
        for index, byte in enumerate(reversed(data)):
            if byte:
                found |= {self.first + index * 8 + bit for bit in range(8) if byte >> bit & 1}
        return found


def reserved_of(size: int, part: int, most: int) -> int:
    """The lower part of a range of ``size``: one in ``part``, at least LEAST_RESERVED, at most ``most``; none of a small range."""
    return 0 if size <= LEAST_RESERVED else max(LEAST_RESERVED, min(size // part, most))


def _choose(first: int, last: int, taken: Set[int], source: random.Random) -> int | None:
    if first > last:
        return None
    for _ in range(TRIES):
        candidate = source.randint(first, last)
        if candidate not in taken:
            return candidate
    free = [number for number in range(first, last + 1) if number not in taken]
    return source.choice(free) if free else None
