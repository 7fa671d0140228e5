"""Brings the datapath to the wanted table: one change at a time, each with all that came meanwhile.

While a change is being applied, newer tables only replace the wanted one; the next change takes them together. A change that fails is
tried again, and what is in force stays known, so that nothing is forgotten. A lone change goes out at once; after each there is a short
rest, so that endpoints that come and go all the time cost no more than so many changes a second.

One route that the datapath refuses holds up no other: a change that fails while the rest of the table can be put in force is halved until
the routes to blame are found. They are set aside, told in ``refused``, and tried again when they change, and now and then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from knarr.client.backoff import Backoff
from services.proxy import metrics
from services.proxy.datapath.port import Datapath, DatapathError
from services.proxy.routing.table import Change, Endpoint, Route, RouteKey, RoutingTable, destinations, diff, patch

log = logging.getLogger(__name__)

# A route that was refused is tried again after so long, each time longer, unless it changes before. Each try may cost the whole table.
ONCE_MORE = Backoff(first_seconds=1.0, limit_seconds=30.0)
# Between two changes: as long as the first took, but within these.
REST_SECONDS, LONGEST_REST_SECONDS = 0.02, 0.05


@dataclass(frozen=True, slots=True)
class Refused:
    """A route that the datapath refused: as it was wanted (None: it was to be removed), and why, in words."""

    wanted: Route | None
    reason: str


class Programmer:
    """Applies tables to a datapath. ``touch`` says that ``wanted()`` may answer anew.

    ``wanted`` answers the table and the keys that may differ from its last answer; only they are looked at. ``applied`` hears of each
    change that has come into force.
    """

    def __init__(
        self,
        datapath: Datapath,
        wanted: Callable[[], tuple[RoutingTable, Iterable[RouteKey]]],
        backoff: Backoff,
        applied: Callable[[Change], None] = lambda change: None,
        refused: Callable[[RouteKey], None] = lambda key: None,
    ) -> None:
        """``refused`` hears of each route that was set aside."""
        self._datapath = datapath
        self._wanted = wanted
        self._backoff = backoff
        self._tell = applied
        self._tell_refused = refused
        self._touched = asyncio.Event()
        self._since = 0.0
        self._resting_until = 0.0
        self._pending: set[RouteKey] = set()
        self._endpoints = 0
        self._retry_at: float | None = None
        self._tries = 0
        self.in_force: dict[RouteKey, Route] = {}
        # When each endpoint of those came into force, seconds since 1970.
        self.since: dict[RouteKey, dict[Endpoint, float]] = {}
        # What was set aside: as it was wanted (None: to be removed), and why, in words.
        self.refused: dict[RouteKey, Refused] = {}
        self.synced = False
        self.changes = 0
        self.last_change_seconds = 0.0

    def touch(self) -> None:
        """Asks for a look at the wanted table."""
        if not self._touched.is_set():
            self._since = time.monotonic()
            self._touched.set()

    async def run(self) -> None:
        """Applies until cancelled."""
        failures = 0
        while True:
            await self._wait()
            if (pause := self._resting_until - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            self._touched.clear()
            since, started = self._since, time.monotonic()
            try:
                await self._step(since)
                failures = 0
                ended = time.monotonic()
                self._resting_until = ended + min(max(ended - started, REST_SECONDS), LONGEST_REST_SECONDS)
            except DatapathError as error:
                failures += 1
                metrics.CHANGES.labels("error").inc()
                log.error("a change could not be put in force", extra={"datapath": self._datapath.name, "error": str(error)})
                await asyncio.sleep(self._backoff.delay(failures))
                self.touch()

    async def _wait(self) -> None:
        """Waits until there is a touch, or something that was set aside is due again."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._retry_at):
                await self._touched.wait()
        if self._retry_at is not None and asyncio.get_running_loop().time() >= self._retry_at:
            self._retry_at = None
            self._tries += 1
            self._pending.update(self.refused)
            self.refused.clear()
            self.touch()

    async def _step(self, since: float) -> None:
        table, keys = self._wanted()
        self._pending.update(keys)
        for key in self._pending & self.refused.keys():
            if self.refused[key].wanted != table.get(key):
                del self.refused[key]
        change = diff(self.in_force, table, self._pending - self.refused.keys())
        if change or not self.synced:
            await self._put(change, since)
        self._pending.clear()
        if not self.refused:
            self._tries, self._retry_at = 0, None

    async def _put(self, change: Change, since: float) -> None:
        try:
            await self._datapath.apply(change)
        except DatapathError:
            if not change:
                raise
            # Without it: if that fails, too, no route is to blame. What is in force stays so, or comes back.
            await self._datapath.apply(Change())
            await self._put_without_the_guilty(change, since)
        else:
            self._applied(change, since)

    async def _put_without_the_guilty(self, change: Change, since: float) -> None:
        """A lone route gets a second try: what made the first one fail may be over."""
        halves = change.halves()
        for part in halves or (change,):
            try:
                await self._datapath.apply(part)
            except DatapathError as refusal:
                if halves:
                    await self._put_without_the_guilty(part, since)
                else:
                    self._set_aside(part, refusal)
            else:
                self._applied(part, since)
        if not self.synced:
            self._applied(Change(), since)

    def _set_aside(self, change: Change, error: DatapathError) -> None:
        metrics.CHANGES.labels("refused").inc()
        for key in {route.key for route in (*change.before, *change.after)}:
            wanted = next((route for route in change.after if route.key == key), None)
            log.error("a route was refused; the others are in force", extra={"route": str(key), "error": str(error)})
            self.refused[key] = Refused(wanted, f"{self._datapath.name} refuses it: {error}")
            self._tell_refused(key)
        self._retry_at = asyncio.get_running_loop().time() + ONCE_MORE.delay(self._tries + 1)

    def _applied(self, change: Change, since: float) -> None:
        self._date(change)
        patch(self.in_force, change)
        self._endpoints += sum(len(route.endpoints) for route in change.after) - sum(len(route.endpoints) for route in change.before)
        self.synced = True
        self.changes += 1
        self.last_change_seconds = time.monotonic() - since
        metrics.CHANGES.labels("ok").inc()
        metrics.CHANGE_SECONDS.observe(self.last_change_seconds)
        metrics.ROUTES.set(len(self.in_force))
        metrics.ENDPOINTS.set(self._endpoints)
        self._tell(change)

    def _date(self, change: Change) -> None:
        """Before what is in force becomes otherwise: most changes of a route leave most of its endpoints as they were."""
        now = time.time()
        for route in change.removed:
            self.since.pop(route.key, None)
        for route in change.after:
            ends, before = destinations(route), self.in_force.get(route.key)
            if before is None or destinations(before) != ends:
                known = self.since.get(route.key, {})
                self.since[route.key] = {endpoint: known.get(endpoint, now) for endpoint in ends}
