"""Keeps the watch cache in step with the store, for ever, through every kind of trouble.

Load everything once, then follow one watch. A broken watch resumes after the last revision seen;
when that is compacted the whole store is read again and the differences become changes; a store
that went backwards or is another one starts the cache anew and ends all watches.
"""

from __future__ import annotations

import asyncio
import logging

from knarr.client.backoff import Backoff
from knarr.machinery.errors import StatusError
from knarr.machinery.resources import Resource
from services.apiserver.cache.watch_cache import WatchCache
from services.apiserver.metrics import CACHE_REVISION, CACHED_BYTES, CACHED_OBJECTS, STORE_CONNECTED
from services.apiserver.storage.keys import EVERYTHING, ROOT
from services.apiserver.storage.store import Compacted, HistoryLost, KeyValue, Store

log = logging.getLogger(__name__)

PAGE = 2000
RESUME = Backoff(first_seconds=0.05, limit_seconds=1.0)


class Feed:
    """Runs until cancelled. ``synced`` is set once the first load is done."""

    def __init__(self, store: Store, cache: WatchCache) -> None:
        self._store = store
        self._cache = cache
        self.synced = asyncio.Event()
        self.connected = False

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep(), name="feed/keep")
            tasks.create_task(self._open(), name="feed/open")

    async def _keep(self) -> None:
        failures, load, anew = 1, True, True
        while True:
            before = self._cache.revision
            try:
                if load:
                    await self._load(anew)
                    load = anew = False
                await self._follow()
            except (Compacted, HistoryLost) as reason:
                log.warning("reading the whole store again", extra={"reason": str(reason)})
                load, anew = True, anew or isinstance(reason, HistoryLost)
            except StatusError as error:
                pause = RESUME.delay(failures)
                log.warning("the watch on etcd broke, trying again: %s", error.status.message, extra={"after_seconds": pause})
            finally:
                self._disconnected()
            failures = 1 if self._cache.revision > before else failures + 1
            await asyncio.sleep(RESUME.delay(failures))

    async def _load(self, anew: bool) -> None:
        items: list[KeyValue] = []
        page = await self._store.range(ROOT, limit=PAGE)
        revision = page.revision
        items += page.items
        while page.more:
            page = await self._store.range(ROOT, start=items[-1].key + "\0", revision=revision, limit=PAGE)
            items += page.items
        self._cache.load(items, revision, anew=anew)
        self.synced.set()
        log.info("the watch cache is loaded", extra={"objects": len(items), "revision": revision})

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
        revision, items, start = self._cache.revision, list[KeyValue](), ""
        more = True
        while more:
            page = await self._store.range(resource.key_prefix, start=start, revision=revision, limit=PAGE)
            items += page.items
            more, start = page.more, page.items[-1].key + "\0" if page.items else ""
        if self._cache.fill(resource, items, revision):
            log.info("a resource is served", extra={"resource": resource.storage.qualified, "objects": len(items), "revision": revision})

    async def _follow(self) -> None:
        # What lies beside the objects counts too: the cache must come to every revision that the store may name.
        async for batch in self._store.watch(EVERYTHING, self._cache.revision + 1):
            if not self.connected:
                self.connected = True
                STORE_CONNECTED.set(1)
            self._cache.apply(batch)

    def _disconnected(self) -> None:
        self.connected = False
        STORE_CONNECTED.set(0)

    def measure(self) -> None:
        """Writes the cache's size into the metrics."""
        CACHE_REVISION.set(self._cache.revision)
        for collection in self._cache:
            CACHED_OBJECTS.labels(collection.resource.storage.qualified).set(len(collection))
            CACHED_BYTES.labels(collection.resource.storage.qualified).set(collection.size_bytes)
