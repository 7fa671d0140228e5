"""Whose turn it is among the nodes of one zone: first come, first served, one each time that the zone's rate allows it."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

from services.controller.pace import TokenBucket

# One node may go at once; those after it wait, however long nothing happened before.
BURST = 1.0


class Turns:
    """``per_second`` nodes may have their turn; 0: none. ``wake`` is called with the name of a node that should ask (again).

    Only the first of those that wait knows how long: who is behind it is woken when it is the first. A turn that was given is kept until
    the node leaves, so that a write that has to be tried again costs none of those behind.
    """

    def __init__(self, per_second: float, now: float, wake: Callable[[str], None]) -> None:
        self._bucket = _bucket(per_second, now, free=True)
        self._wake = wake
        self._waiting: OrderedDict[str, None] = OrderedDict()
        self._given: set[str] = set()

    @property
    def per_second(self) -> float:
        return self._bucket.per_second

    def wait_seconds(self, name: str, now: float) -> float:
        """Until it is this node's turn, which it waits for from now on; 0: it is; infinite where that cannot be told."""
        if name in self._given:
            return 0.0
        self._waiting.setdefault(name)
        if name != self._first():
            return math.inf
        seconds = self._bucket.wait_seconds(now)
        if seconds == 0:
            self._bucket.take(now)
            self._given.add(name)
            self._remove(name)
        return seconds

    def leave(self, name: str) -> None:
        """It needs no turn any more."""
        self._given.discard(name)
        if name in self._waiting:
            self._remove(name)

    def set_rate(self, per_second: float, now: float) -> None:
        """A turn that is free stays so, unless there are to be none; what has come of the next one is lost, as in Kubernetes."""
        if per_second != self._bucket.per_second:
            self._bucket = _bucket(per_second, now, free=self._bucket.wait_seconds(now) == 0)
            self._wake_first()

    def clear(self) -> None:
        """Nobody waits any more, and no turn that was given holds."""
        self._waiting.clear()
        self._given.clear()

    def _remove(self, name: str) -> None:
        was_first = name == self._first()
        del self._waiting[name]
        if was_first:
            self._wake_first()

    def _first(self) -> str | None:
        return next(iter(self._waiting), None)

    def _wake_first(self) -> None:
        first = self._first()
        if first is not None:
            self._wake(first)


def _bucket(per_second: float, now: float, *, free: bool) -> TokenBucket:
    """One whose turn is ``free`` at once; where there are to be none, that is not either."""
    return TokenBucket(BURST, per_second, BURST if free and per_second else 0.0, now)
