"""Rounds: whose piece of work is done next in the event loop, in fair order between callers.

A caller with many connections may have all of them ask at once. To parse a request and to find out whose turn it is costs as much as to
answer it, so that what another one asks a moment later would lie behind all of them before fairness hears of any. The same happens once
more where they have waited for one thing, an answer of the store say: all go on in the same turn of the loop.

So a request is done in pieces, each from one wait to the next, and a caller has so many pieces done in one turn of the loop. The others
lie, callers take turns, and who has asked for less is not held up. What goes on comes before what begins.

Who asks is known by what the connection asked before: one that has not said yet who it is shares the turns of all such.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

# Pieces that are done in one turn of the loop: of one caller, and of all together.
AT_ONCE, ALL_AT_ONCE = 1, 32
# Turns for which callers that met are expected to meet again.
MIXED_TURNS = 20_000


class Piece(Protocol):
    """Work whose turn is waited for."""

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for it any more: it takes no turn then."""
        ...

    def begin(self) -> None:
        """Does it, or lets it go on."""


class Waits:
    """A request that goes on, or begins, once its turn has come."""

    __slots__ = ("future",)

    def __init__(self) -> None:
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_over(self) -> bool:
        return self.future.done()

    def begin(self) -> None:
        self.future.set_result(None)


class Line:
    """A caller's pieces, those that are next first."""

    __slots__ = ("beginning", "going_on")

    def __init__(self) -> None:
        self.beginning: deque[Piece] = deque()
        self.going_on: deque[Piece] = deque()

    def __bool__(self) -> bool:
        return bool(self.going_on or self.beginning)

    def pop(self) -> Piece:
        return (self.going_on or self.beginning).popleft()


class Rounds:
    """One server's, on one loop. Callers are told apart by name; the empty one is who is not known yet."""

    def __init__(self) -> None:
        self._last: str | None = None
        self._mixed = 0
        # Of this turn.
        self._done: dict[str, int] = {}
        self._all_done = 0
        # By caller, those that are next first.
        self._waiting: dict[str, Line] = {}
        self._is_turning = False

    def admits(self, caller: str) -> bool:
        """Whether a request of a caller may begin in this turn; then it has begun. Else it is to be given to ``keep``."""
        # Each connection's first request is nobody's yet: what comes next by it is no other caller's.
        if caller and caller != self._last:
            if self._last is not None:
                self._mixed = MIXED_TURNS
            self._last = caller
        return not self._mixed or (caller not in self._waiting and self._has_room(caller))

    def keep(self, caller: str, piece: Piece) -> None:
        """Lets a request that was not admitted begin when its turn has come."""
        self._line(caller).beginning.append(piece)

    def begins(self, caller: str) -> asyncio.Future[None] | None:
        """What a request waits for that would begin; None where it may in this turn, and has."""
        if self.admits(caller):
            return None
        piece = Waits()
        self.keep(caller, piece)
        return piece.future

    def goes_on(self, caller: str) -> asyncio.Future[None] | None:
        """What a request that has waited for something waits for before it goes on; None where it may in this turn."""
        if not self._mixed:
            return None
        line = self._waiting.get(caller)
        if (line is None or not line.going_on) and self._has_room(caller):
            return None
        piece = Waits()
        self._line(caller).going_on.append(piece)
        return piece.future

    def _has_room(self, caller: str) -> bool:
        """Whether one more piece is done in this turn; then it is counted."""
        done = self._done.get(caller, 0)
        if done >= AT_ONCE or self._all_done >= ALL_AT_ONCE:
            return False
        self._done[caller] = done + 1
        self._all_done += 1
        self._turn_soon()
        return True

    def _line(self, caller: str) -> Line:
        self._turn_soon()
        return self._waiting.setdefault(caller, Line())

    def _turn_soon(self) -> None:
        if not self._is_turning:
            self._is_turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """A turn of the loop has gone by: one piece of each caller is done, and another one, as long as there is room."""
        self._is_turning = False
        self._done.clear()
        self._all_done = 0
        if self._mixed:
            self._mixed -= 1
        for _ in range(AT_ONCE):
            for caller in list(self._waiting):
                if self._all_done >= ALL_AT_ONCE:
                    break
                self._do_next(caller)
        if self._waiting:
            self._turn_soon()

    def _do_next(self, caller: str) -> None:
        """Who has had one is behind the others."""
        line = self._waiting.pop(caller)
        piece = line.pop()
        while piece.is_over and line:
            piece = line.pop()
        if line:
            self._waiting[caller] = line
        if piece.is_over:
            return
        self._done[caller] = self._done.get(caller, 0) + 1
        self._all_done += 1
        piece.begin()
