"""Whose bytes are looked at next: requests that have come, in fair order between callers.

A caller with many connections may have all of them ask at once. To parse a request and to find out whose turn it is costs as much as to
answer it, so that what another one asks a moment later would lie behind all of them before fairness hears of any. Here a caller has so
many requests begin in one turn of the loop; the others lie as bytes, callers take turns, and who has asked for less is not held up.

Who asks is known by what the connection asked before: one that has not said yet who it is shares the turns of all such.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

# Requests that begin in one turn of the loop: of one caller, and of all together.
AT_ONCE, ALL_AT_ONCE = 4, 32
# Turns for which callers that met are expected to meet again.
MIXED_TURNS = 20_000


class Arrived(Protocol):
    """A connection whose next request has come."""

    def begin(self) -> None:
        """Looks at what has come; nothing where the connection is gone."""


class Arrivals:
    """One server's, on one loop. Callers are told apart by name; the empty one is who is not known yet."""

    def __init__(self) -> None:
        self._last: str | None = None
        self._mixed = 0
        # Of this turn.
        self._begun: dict[str, int] = {}
        self._all_begun = 0
        # By caller, those that are next first.
        self._waiting: dict[str, deque[Arrived]] = {}
        self._is_turning = False

    def admits(self, caller: str) -> bool:
        """Whether a request of a caller may begin in this turn; then it has begun. Else it is to be given to ``keep``."""
        # Each connection's first request is nobody's yet: what comes next by it is no other caller's.
        if caller and caller != self._last:
            if self._last is not None:
                self._mixed = MIXED_TURNS
            self._last = caller
        if not self._mixed:
            return True
        begun = self._begun.get(caller, 0)
        if begun >= AT_ONCE or self._all_begun >= ALL_AT_ONCE or caller in self._waiting:
            return False
        self._begun[caller] = begun + 1
        self._all_begun += 1
        self._turn_soon()
        return True

    def keep(self, caller: str, arrived: Arrived) -> None:
        """Lets a request that was not admitted begin when its turn has come."""
        self._waiting.setdefault(caller, deque()).append(arrived)
        self._turn_soon()

    def _turn_soon(self) -> None:
        if not self._is_turning:
            self._is_turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """A turn of the loop has gone by: one request of each caller begins, and another one, as long as there is room."""
        self._is_turning = False
        self._begun.clear()
        self._all_begun = 0
        if self._mixed:
            self._mixed -= 1
        for _ in range(AT_ONCE):
            for caller in list(self._waiting):
                if self._all_begun >= ALL_AT_ONCE:
                    break
                self._begin_next(caller)
        if self._waiting:
            self._turn_soon()

    def _begin_next(self, caller: str) -> None:
        """Who has had one is behind the others."""
        waiting = self._waiting.pop(caller)
        arrived = waiting.popleft()
        if waiting:
            self._waiting[caller] = waiting
        self._begun[caller] = self._begun.get(caller, 0) + 1
        self._all_begun += 1
        arrived.begin()
