"""The connections of one route: to which endpoint each goes, and when it has to end."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from socket import SocketType

from services.proxy.datapath.userspace.attempt import Attempt
from services.proxy.datapath.userspace.limits import Limits
from services.proxy.datapath.userspace.poller import Poller
from services.proxy.datapath.userspace.relay import Side
from services.proxy.datapath.userspace.turns import Turns
from services.proxy.routing.table import Endpoint

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS = 5.0


class Balancer:
    """Connects clients to endpoints. A connection that cannot be made goes to the next endpoint."""

    def __init__(self, name: str, drain_seconds: float, limits: Limits, poller: Poller, on_end: Callable[[], None]) -> None:
        """``on_end`` is called for each connection that has begun."""
        self._name = name
        self._drain_seconds = drain_seconds
        self._limits = limits
        self._poller = poller
        self._on_end = on_end
        self._endpoints: frozenset[Endpoint] = frozenset()
        self._sides: dict[Endpoint, set[Side]] = defaultdict(set)
        self._drains: dict[Endpoint, asyncio.TimerHandle] = {}
        # The one whose time is up first comes first.
        self._connecting: dict[Attempt, Turns] = {}
        self._deadline: asyncio.TimerHandle | None = None
        # Set whenever something ends, for whoever waits for all of it.
        self._ended = asyncio.Event()
        self.counts: dict[Endpoint, int] = defaultdict(int)

    def update(self, endpoints: Iterable[Endpoint]) -> None:
        """Connections to others may go on for a while, then they are ended."""
        before, self._endpoints = self._endpoints, frozenset(endpoints)
        for endpoint in self._endpoints & self._drains.keys():
            self._drains.pop(endpoint).cancel()
        for endpoint in before - self._endpoints:
            self._drain(endpoint)

    def begin(self, front: SocketType, turns: Turns, client: str, named: tuple[str, int]) -> None:
        """Starts to carry a connection that was just accepted at the address and port ``named``."""
        candidates = turns.candidates(client)
        if self._limits.gate is not None:
            candidates = (endpoint for endpoint in candidates if self._limits.admits(client, named, endpoint, "tcp"))
        attempt = Attempt(self._poller, front, client, candidates, self._connected, self._failed)
        self._await_answer(attempt, turns)
        attempt.go_on()

    def _await_answer(self, attempt: Attempt, turns: Turns) -> None:
        attempt.deadline = self._poller.loop.time() + CONNECT_TIMEOUT_SECONDS
        self._connecting[attempt] = turns
        if self._deadline is None:
            self._deadline = self._poller.loop.call_at(attempt.deadline, self._look_at_deadlines)

    def _look_at_deadlines(self) -> None:
        """One timer for all: it goes off when the first that was there then had its time, and looks who is late by now."""
        self._deadline = None
        now = self._poller.loop.time()
        late = []
        for attempt in self._connecting:
            if attempt.deadline > now:
                self._deadline = self._poller.loop.call_at(attempt.deadline, self._look_at_deadlines)
                break
            late.append(attempt)
        for attempt in late:
            if attempt in self._connecting:
                attempt.give_up(TimeoutError("no answer in time"))

    def _failed(self, attempt: Attempt, error: OSError) -> None:
        place = f"{attempt.endpoint.address}:{attempt.endpoint.port}"
        if not self._limits.failed(self._name, error, place):
            log.info("endpoint does not answer", extra={"endpoint": place, "error": str(error)})
        # The next one has all the time again.
        self._await_answer(attempt, self._connecting.pop(attempt))

    def _connected(self, attempt: Attempt, sock: SocketType | None, events: int) -> None:
        turns = self._connecting.pop(attempt)
        if sock is None:
            self._turn_away(attempt)
            return
        endpoint = attempt.endpoint
        turns.took(attempt.client, endpoint)
        self.counts[endpoint] += 1
        back = Side(self._poller, sock, partial(self._lost, endpoint))
        self._sides[endpoint].add(back)
        Side(self._poller, attempt.front).join(back, events)
        if endpoint not in self._endpoints and endpoint not in self._drains:
            self._drain(endpoint)

    def _turn_away(self, attempt: Attempt) -> None:
        self._poller.end(attempt.front)
        self._on_end()
        self._ended.set()

    def _lost(self, endpoint: Endpoint, side: Side) -> None:
        if endpoint in self._sides:
            self._sides[endpoint].discard(side)
        self._on_end()
        self._ended.set()

    def _drain(self, endpoint: Endpoint) -> None:
        if not self._sides.get(endpoint):
            self._end(endpoint)
            return
        self._drains[endpoint] = self._poller.loop.call_later(self._drain_seconds, self._end, endpoint)

    def _end(self, endpoint: Endpoint) -> None:
        self._drains.pop(endpoint, None)
        for side in list(self._sides.pop(endpoint, ())):
            side.abort()
        if endpoint not in self._endpoints:
            self.counts.pop(endpoint, None)

    async def done(self) -> None:
        """Waits until no connection is open or being made."""
        while self._connecting or any(self._sides.values()):
            self._ended.clear()
            await self._ended.wait()

    @property
    def idle(self) -> bool:
        """Whether no connection is left to drain."""
        return not self._drains and not self._connecting

    def close(self) -> None:
        """Ends all connections now."""
        for attempt in list(self._connecting):
            attempt.cancel()
            self._turn_away(attempt)
        self._connecting.clear()
        for handle in (*self._drains.values(), *((self._deadline,) if self._deadline is not None else ())):
            handle.cancel()
        self._drains.clear()
        self._deadline = None
        self._endpoints = frozenset()
        for endpoint in list(self._sides):
            self._end(endpoint)
