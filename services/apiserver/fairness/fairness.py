"""Who is served next: seats for those who wait for something, and turns of the event loop for all.

In a server of one loop a request that is answered from memory never waits: it holds the loop and is gone. Its seat is free again before
the next one looks for one, so that seats alone would let a thousand requests of one client run before the one of another that came a
moment later. What is shared out is therefore the order too: in one turn of the loop so many requests begin, and the others wait in the
queues of their flows, from which the fairest are taken for the next turn. A client whose answers wait does not send.

While one flow is alone nobody needs a queue, and there is none.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from time import monotonic

from knarr.machinery.errors import StatusError, status_error
from knarr.service.authentication import User
from services.apiserver.fairness.flows import Flow, Flows
from services.apiserver.fairness.level import Level, Waiting
from services.apiserver.fairness.metrics import GAUGES
from services.apiserver.fairness.rounds import Rounds

# Kubernetes' own, for reads and writes together.
MAX_REQUESTS, MAX_MUTATING = 400, 200
# Seats that begin in one turn of the loop: some hundred microseconds of it.
TURN_SEATS = 4
# … and so many more of those who have had less than their part: they do not wait for the next one.
SPARE_SEATS = 4
# Turns for which flows that met are expected to meet again.
MIXED_TURNS = 20_000
# As long as Kubernetes lets a request wait: a quarter of the time that it may take. Who waits is looked at so often.
MAX_WAIT_SECONDS, LOOK_SECONDS = 15.0, 1.0
# Kubernetes' for lists: a seat for so many objects, so many at most.
OBJECTS_A_SEAT, MAX_SEATS = 100, 10
# Watches, logs, commands and connections that one user may have open. An administrator may have any number.
MAX_STREAMS, MASTERS = 4096, "system:masters"
RETRY_SECONDS = 1
REFUSED = "Too many requests, please try again later."


class Ticket:
    """A request that was let in. It is given back once, by ``leave``."""

    __slots__ = ("began_seconds", "flow", "index", "level", "width")

    def __init__(self, flow: Flow, level: Level, width: int, index: int, began_seconds: float) -> None:
        self.flow, self.level, self.width, self.index, self.began_seconds = flow, level, width, index, began_seconds


class Waiter(Waiting):
    """With whom it is, who is to be told, and of what (for whoever looks at the queues)."""

    flow: Flow
    about: object
    future: asyncio.Future[Ticket]


class Fairness:
    """One API server's, on one loop. In ``rounds`` whatever a request does is done in pieces, in fair order."""

    def __init__(self, flows: Flows) -> None:
        self._flows = flows
        self.rounds = Rounds()
        self._waiting: set[Level] = set()
        self._turn_seats = 0
        self._is_turning = self._is_looking = False
        self._last: Flow | None = None
        self._mixed = 0
        self._streams: Counter[str] = Counter()
        flows.on_change = self._restart
        GAUGES.levels = lambda: flows.levels

    @property
    def flows(self) -> Flows:
        """As they are in this turn of the loop."""
        if not self._is_turning:
            self._flows.follow()
            self._turn_soon()
        return self._flows

    def enter(self, flow: Flow, width: int = 1, about: object = None) -> Ticket | asyncio.Future[Ticket] | None:
        """Lets a request in: at once, with a ticket, or none where its level is exempt; or when its turn has come. Raises, at once or
        later, TooManyRequests. ``flow`` is one of ``flows``, of this turn; ``about`` the request, for whoever looks at
        the queues."""
        level = flow.level
        if level.is_exempt:
            flow.counts.dispatched.value += 1
            return None
        if flow is not self._last:
            if self._last is not None:
                self._mixed = MIXED_TURNS
            self._last = flow
        if not self._mixed:
            if level not in self._waiting and self._flows.seats.may_take(level, width):
                return self._begun(flow, level, width, -1)
        elif not self._waiting:
            if self._turn_seats < TURN_SEATS and self._flows.seats.may_take(level, width):
                return self._begun(flow, level, width, -1)
        elif (
            self._turn_seats < TURN_SEATS + SPARE_SEATS
            and (index := level.vacancy(flow.hand)) is not None
            and self._flows.seats.may_take(level, width)
        ):
            level.begin(index, width)
            return self._begun(flow, level, width, index)
        return self._queued(flow, level, width, about)

    async def let_in(self, entering: asyncio.Future[Ticket]) -> Ticket:
        """Waits for what ``enter`` has answered. What comes too late for who does not wait any more is given back."""
        try:
            return await entering
        except asyncio.CancelledError:
            if entering.done() and not entering.cancelled() and entering.exception() is None:
                self.leave(entering.result())
            raise

    def leave(self, ticket: Ticket | None) -> None:
        """A request has ended, or begun to stream."""
        if ticket is None:
            return
        level, width = ticket.level, ticket.width
        level.in_use -= width
        level.executing -= 1
        self._flows.seats.in_use -= width
        if ticket.index >= 0:
            level.ended(ticket.index, width, monotonic() - ticket.began_seconds)
        if self._waiting and not self._is_turning:
            self._turn_soon()

    def open(self, user: User) -> None:
        """One more stream of a user; raises TooManyRequests. ``close`` it."""
        if MASTERS not in user.groups and self._streams[user.name] >= MAX_STREAMS:
            message = f'user "{user.name}" has {MAX_STREAMS} watches and streams open already: end some of them'
            raise status_error("TooManyRequests", message, retry_after_seconds=RETRY_SECONDS)
        self._streams[user.name] += 1

    def close(self, user: User) -> None:
        self._streams[user.name] -= 1
        if self._streams[user.name] <= 0:
            del self._streams[user.name]

    def _begun(self, flow: Flow, level: Level, width: int, index: int) -> Ticket:
        level.in_use += width
        level.executing += 1
        self._flows.seats.in_use += width
        self._turn_seats += width
        flow.counts.dispatched.value += 1
        return Ticket(flow, level, width, index, monotonic() if index >= 0 else 0.0)

    def _queued(self, flow: Flow, level: Level, width: int, about: object) -> asyncio.Future[Ticket]:
        waiter = Waiter(width, monotonic())
        if reason := level.enqueue(flow.hand, waiter):
            raise refused(flow, reason)
        waiter.flow, waiter.about, waiter.future = flow, about, asyncio.get_running_loop().create_future()
        if level not in self._waiting:
            level.turn = max(level.turn, min((other.turn for other in self._waiting), default=level.turn))
            self._waiting.add(level)
        if not self._is_looking:
            self._is_looking = True
            asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)
        return waiter.future

    def _turn_soon(self) -> None:
        self._is_turning = True
        asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """A turn of the loop has gone by: the fairest of those who wait begin in the next one."""
        was_busy, self._turn_seats = self._turn_seats > 0, 0
        if self._mixed:
            self._mixed -= 1
        self._flows.follow()
        while self._waiting and self._turn_seats < TURN_SEATS and (level := self._next_level()) is not None:
            self._begin_next(level)
        if was_busy or self._turn_seats:
            self._turn_soon()
        else:
            self._is_turning = False

    def _next_level(self) -> Level | None:
        """Of the levels whose next request has a seat, the one that has had the least, by its share."""
        best: Level | None = None
        for level in self._waiting:
            index = level.next_index()
            if index is not None and (best is None or level.turn < best.turn) and self._may_take(level, level.head(index).width):
                best = level
        return best

    def _may_take(self, level: Level, width: int) -> bool:
        return self._flows.seats.may_take(level, width)

    def _begin_next(self, level: Level) -> None:
        index = level.next_index()
        assert index is not None
        waiter = level.take(index)
        assert isinstance(waiter, Waiter)
        level.turn += waiter.width / max(level.seats, 1)
        if not level.waiting:
            self._waiting.discard(level)
        if waiter.future.done():
            # Its task was ended.
            waiter.flow.counts.rejected("cancelled")
            level.ended(index, waiter.width, 0.0)
            return
        waiter.flow.counts.waited.observe(monotonic() - waiter.since_seconds)
        waiter.future.set_result(self._begun(waiter.flow, level, waiter.width, index))

    def _look(self) -> None:
        """Sends away who has waited for too long."""
        before = monotonic() - MAX_WAIT_SECONDS
        for level in list(self._waiting):
            for waiter in level.expired(before):
                assert isinstance(waiter, Waiter)
                if waiter.future.done():
                    waiter.flow.counts.rejected("cancelled")
                else:
                    waiter.flow.counts.gave_up.observe(MAX_WAIT_SECONDS)
                    waiter.future.set_exception(refused(waiter.flow, "time-out"))
            if not level.waiting:
                self._waiting.discard(level)
        self._is_looking = bool(self._waiting)
        if self._is_looking:
            asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)
            self._restart()

    def _restart(self) -> None:
        """There may be seats where there were none."""
        if self._waiting and not self._is_turning:
            self._turn_soon()


def refused(flow: Flow, reason: str) -> StatusError:
    """In Kubernetes' words. ``reason`` is told in the metrics."""
    flow.counts.rejected(reason)
    return status_error("TooManyRequests", REFUSED, retry_after_seconds=RETRY_SECONDS)


def list_seats(objects: int) -> int:
    """What a list of so many objects takes."""
    return min(MAX_SEATS, 1 + objects // OBJECTS_A_SEAT)
