"""Answers that are remembered for a while, so that nobody is asked the same again and again."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Answers(Generic[K, V]):
    """So many at most; for one more, that is let go which was learned the longest ago. For the tasks of one loop."""

    def __init__(self, most: int) -> None:
        self.most = most
        # With when it is no answer any more, by the loop's time.
        self._known: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[K]:
        return iter(self._known)

    def get(self, question: K) -> V | None:
        """None where nothing is remembered, or not any more."""
        known = self._known.get(question)
        if known is None:
            return None
        if known[0] <= asyncio.get_running_loop().time():
            del self._known[question]
            return None
        return known[1]

    def learn(self, question: K, answer: V, seconds: float) -> None:
        """For so many seconds from now on."""
        self._known[question] = asyncio.get_running_loop().time() + seconds, answer
        self._known.move_to_end(question)
        if len(self._known) > self.most:
            self._known.popitem(last=False)
