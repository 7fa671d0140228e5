"""The connections of one route: to which endpoint each goes, and when it has to end."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable

from services.proxy.datapath.userspace.limits import Limits
from services.proxy.datapath.userspace.relay import Side
from services.proxy.datapath.userspace.turns import Turns
from services.proxy.routing.table import Endpoint

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS = 5.0


class Balancer:
    """Connects clients to endpoints. A connection that cannot be made goes to the next endpoint."""

    def __init__(self, name: str, drain_seconds: float, limits: Limits) -> None:
        self._name = name
        self._drain_seconds = drain_seconds
        self._limits = limits
        self._endpoints: frozenset[Endpoint] = frozenset()
        self._sides: dict[Endpoint, set[Side]] = defaultdict(set)
        self._drains: dict[Endpoint, asyncio.TimerHandle] = {}
        self._connecting: set[asyncio.Task[None]] = set()
        self._given_up: set[asyncio.Task[None]] = set()
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

    def begin(self, front: Side, turns: Turns, client: str, named: tuple[str, int]) -> None:
        """Starts to carry a connection that was just accepted at the address and port ``named``."""
        task = asyncio.create_task(self._connect(front, turns, client, named), name="proxy/connect")
        self._connecting.add(task)
        task.add_done_callback(self._connected)

    def _connected(self, task: asyncio.Task[None]) -> None:
        self._connecting.discard(task)
        self._ended.set()

    def _lost(self, side: Side, endpoint: Endpoint) -> None:
        if endpoint in self._sides:
            self._sides[endpoint].discard(side)
        self._ended.set()

    async def _connect(self, front: Side, turns: Turns, client: str, named: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert front.transport is not None and task is not None
        for endpoint in turns.candidates(client):
            if not self._limits.admits(client, named, endpoint, "tcp"):
                continue
            back = Side(lambda side, endpoint=endpoint: self._lost(side, endpoint))  # type: ignore[misc]
            # What asyncio.timeout does, at half its price.
            timer = loop.call_later(CONNECT_TIMEOUT_SECONDS, self._give_up, task)
            try:
                await loop.create_connection(lambda back=back: back, endpoint.address, endpoint.port)  # type: ignore[misc]
            except OSError as error:
                self._failed(endpoint, error)
                continue
            except asyncio.CancelledError:
                if task not in self._given_up:
                    raise
                self._given_up.discard(task)
                task.uncancel()
                self._failed(endpoint, TimeoutError("no answer in time"))
                continue
            finally:
                timer.cancel()
            turns.took(client, endpoint)
            self._carry(front, back, endpoint)
            return
        front.transport.abort()

    def _give_up(self, task: asyncio.Task[None]) -> None:
        """Ends the attempt, not the task."""
        self._given_up.add(task)
        task.cancel()

    def _failed(self, endpoint: Endpoint, error: OSError) -> None:
        place = f"{endpoint.address}:{endpoint.port}"
        if not self._limits.failed(self._name, error, place):
            log.info("endpoint does not answer", extra={"endpoint": place, "error": str(error)})

    def _carry(self, front: Side, back: Side, endpoint: Endpoint) -> None:
        assert front.transport is not None and back.transport is not None
        if front.transport.is_closing():
            back.transport.abort()
            return
        self.counts[endpoint] += 1
        self._sides[endpoint].add(back)
        front.join(back)
        back.join(front)
        if endpoint not in self._endpoints and endpoint not in self._drains:
            self._drain(endpoint)

    def _drain(self, endpoint: Endpoint) -> None:
        if not self._sides.get(endpoint):
            self._end(endpoint)
            return
        self._drains[endpoint] = asyncio.get_running_loop().call_later(self._drain_seconds, self._end, endpoint)

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
        """Whether nothing is left to drain."""
        return not self._drains and not self._connecting

    async def close(self) -> None:
        """Ends all connections now."""
        for task in list(self._connecting):
            task.cancel()
        if self._connecting:
            await asyncio.wait(self._connecting)
        for handle in self._drains.values():
            handle.cancel()
        self._drains.clear()
        self._endpoints = frozenset()
        for endpoint in list(self._sides):
            self._end(endpoint)
