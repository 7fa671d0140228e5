"""Brings the datapath to the wanted table: one change at a time, each with all that came meanwhile.

While a change is being applied, newer tables only replace the wanted one; the next change takes them together. A change that fails is
tried again, and what is in force stays known, so that nothing is forgotten. A lone change goes out at once; after each there is a short
rest, so that endpoints that come and go all the time cost no more than so many changes a second.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from knarr.client.backoff import Backoff
from services.proxy import metrics
from services.proxy.datapath.port import Datapath, DatapathError
from services.proxy.routing.table import Change, Route, RouteKey, RoutingTable, diff, patch

log = logging.getLogger(__name__)

# Between two changes: as long as the first took, but within these.
REST_SECONDS, LONGEST_REST_SECONDS = 0.02, 0.05


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
    ) -> None:
        self._datapath = datapath
        self._wanted = wanted
        self._backoff = backoff
        self._tell = applied
        self._touched = asyncio.Event()
        self._since = 0.0
        self._resting_until = 0.0
        self._pending: set[RouteKey] = set()
        self._endpoints = 0
        self.in_force: dict[RouteKey, Route] = {}
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
            await self._touched.wait()
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

    async def _step(self, since: float) -> None:
        table, keys = self._wanted()
        self._pending.update(keys)
        change = diff(self.in_force, table, self._pending)
        if change or not self.synced:
            await self._datapath.apply(change)
            self._applied(change, since)
        self._pending.clear()

    def _applied(self, change: Change, since: float) -> None:
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
