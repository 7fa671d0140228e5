"""Keeps the watch cache in step with the store, for ever, through every kind of trouble.

Load everything once, then follow one watch. A broken watch resumes after the last revision seen. When that is compacted, what happened
meanwhile cannot be told any more: the whole store is read again, and every watch ends. The same when the store is another one than
before, and then nothing is read from the cache until it holds what that one has.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple

from knarr.client.backoff import Backoff
from knarr.machinery.errors import StatusError
from knarr.machinery.resources import Resource
from services.apiserver.cache.loading import Loading
from services.apiserver.cache.watch_cache import WatchCache
from services.apiserver.metrics import CACHE_REVISION, CACHED_BYTES, CACHED_OBJECTS, STORE_CONNECTED
from services.apiserver.storage.keys import EVERYTHING, ROOT
from services.apiserver.storage.pages import pages, read_all
from services.apiserver.storage.store import Change, Compacted, HistoryLost, Store

log = logging.getLogger(__name__)

RESUME = Backoff(first_seconds=0.05, limit_seconds=1.0)


def _nothing() -> None:
    pass


class Place(NamedTuple):
    """How far the cache had come, and in which world (they are counted), when something was asked of the store."""

    world: int
    revision: int


class Feed:
    """Runs until cancelled. ``synced`` is set while the cache holds what the store has, or had a moment ago."""

    def __init__(self, store: Store, cache: WatchCache) -> None:
        self._store = store
        self._cache = cache
        self.synced = asyncio.Event()
        # Called each time that the cache was loaded, before it is told.
        self.on_loaded: Callable[[], None] = _nothing
        self.connected = False
        # How many worlds the cache has left for another one, and the revision at which it was read in the present one.
        self._worlds = self.floor = 0
        # What the store said of its world when it was read, and the last change that the cache knows.
        self._world = store.world
        self._last: Change | None = None
        self._following: asyncio.Task[None] | None = None
        self._doubt = ""

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep(), name="feed/keep")
            tasks.create_task(self._open(), name="feed/open")

    @property
    def place(self) -> Place:
        return Place(self._worlds, self._cache.revision)

    def trusts(self, place: Place, revision: int) -> bool:
        """Whether an answer of the store at ``revision``, asked for when the cache was at ``place``, is about what the cache holds.

        If not, the cache is of another store, and ``synced`` is not set before it is read anew.
        """
        if place.world != self._worlds or not self.synced.is_set():
            return False
        if self._store.world != self._world:
            self._begin_anew("etcd was restored or made anew")
        elif revision < place.revision:
            self._begin_anew(f"etcd is at revision {revision}, but {place.revision} was read from it before")
        return self.synced.is_set()

    def _begin_anew(self, doubt: str) -> None:
        """Makes the cache be of no world, so that everybody waits until it is read again."""
        self.synced.clear()
        self._doubt = doubt
        if self._following is not None:
            self._following.cancel()

    async def _keep(self) -> None:
        failures, load = 1, True
        while True:
            before = self._cache.revision
            try:
                if load:
                    await self._load()
                    load = False
                await self._follow_until_doubt()
            except (Compacted, HistoryLost) as reason:
                log.warning("reading the whole store again", extra={"reason": str(reason)})
                load = True
                if isinstance(reason, HistoryLost):
                    self._begin_anew(str(reason))
            except StatusError as error:
                pause = RESUME.delay(failures)
                log.warning("the watch on etcd broke, trying again: %s", error.status.message, extra={"after_seconds": pause})
            finally:
                self._disconnected()
            failures = 1 if self._cache.revision > before else failures + 1
            await asyncio.sleep(RESUME.delay(failures))

    async def _load(self) -> None:
        world = self._store.world
        loading, revision = Loading(self._cache), 0
        async for page in pages(self._store, ROOT):
            revision = revision or page.revision
            loading.add(page.items)
            # The next page may be there already.
            await asyncio.sleep(0)
        if self._store.world != world:
            raise HistoryLost("etcd was restored or made anew while it was read")
        newest = loading.newest
        self._last = Change(newest.key, newest.value, newest.revision) if newest is not None else None
        if self._doubt:
            self._worlds, self.floor, self._doubt = self._worlds + 1, revision, ""
        self._world = world
        self._cache.take(loading, revision)
        self.on_loaded()
        self.synced.set()
        log.info("the watch cache is loaded", extra={"objects": loading.count, "revision": revision})

    async def _open(self) -> None:
        """Reads the objects of every resource that is served from now on."""
        while True:
            resource, failures = await self._cache.opened.get(), 0
            while self._cache.is_opening(resource):
                try:
                    await self._fill(resource)
                except (Compacted, StatusError) as error:
                    failures += 1
                    pause = RESUME.delay(failures)
                    log.warning("the %s cannot be read, trying again: %s", resource.plural, error, extra={"after_seconds": pause})
                    await asyncio.sleep(pause)

    async def _fill(self, resource: Resource) -> None:
        items, revision = await read_all(self._store, resource.key_prefix, self._cache.revision)
        if self._cache.fill(resource, items, revision):
            log.info("a resource is served", extra={"resource": resource.storage.qualified, "objects": len(items), "revision": revision})

    async def _follow_until_doubt(self) -> None:
        """Follows the watch until it breaks; raises HistoryLost when an answer showed that the store is another one."""
        if self._doubt:
            raise HistoryLost(self._doubt)
        self._following = asyncio.create_task(self._follow(), name="feed/follow")
        try:
            await self._following
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._doubt or (task is not None and task.cancelling()):
                raise
            raise HistoryLost(self._doubt) from None
        finally:
            self._following = None

    async def _follow(self) -> None:
        if self._store.world != self._world:
            raise HistoryLost("etcd was restored or made anew")
        # What lies beside the objects counts too: the cache must come to every revision that the store may name.
        async for batch in self._store.watch(EVERYTHING, self._cache.revision + 1, self._last):
            if not self.connected:
                self.connected = True
                STORE_CONNECTED.set(1)
            if batch.changes:
                self._last = batch.changes[-1]
            self._cache.apply(batch)

    def _disconnected(self) -> None:
        self.connected = False
        STORE_CONNECTED.set(0)

    def measure(self) -> None:
        """Writes the cache's size into the metrics, and lets go of history that has grown old."""
        self._cache.trim()
        CACHE_REVISION.set(self._cache.revision)
        for collection in self._cache:
            CACHED_OBJECTS.labels(collection.resource.storage.qualified).set(len(collection))
            CACHED_BYTES.labels(collection.resource.storage.qualified).set(collection.size_bytes)
