"""A range of numbers of which some are taken, as Kubernetes' ``RangeAllocation`` holds it. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterable, Set

TRIES = 32


class NumberRange:
    """Numbers from ``first`` to ``last``, both included; as text ``first-last``."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last

    def choose(self, taken: Set[int]) -> int | None:
        """A random free number; None when there is none."""
        for _ in range(TRIES):
            candidate = random.randint(self.first, self.last)
            if candidate not in taken:
                return candidate
        free = [number for number in range(self.first, self.last + 1) if number not in taken]
        return random.choice(free) if free else None

    def encode(self, taken: Iterable[int]) -> bytes:
        """The bitmap: bit ``n`` stands for the number ``first + n``; the highest byte comes first."""
        bits = bytearray((self.last - self.first) // 8 + 1)
        for number in taken:
            offset = number - self.first
            bits[-1 - offset // 8] |= 1 << offset % 8
        return bytes(bits).lstrip(b"\0")

    def decode(self, data: bytes) -> set[int]:
        found = set()
        for index, byte in enumerate(reversed(data)):
            if byte:
                found |= {self.first + index * 8 + bit for bit in range(8) if byte >> bit & 1}
        return found
