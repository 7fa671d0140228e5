"""All objects of the cluster in memory, fed by one watch on the store.

The cache is exact: at ``revision`` it holds what the store held at that revision. Writers wait
until the cache has reached their write, so whoever writes through this server reads it back.
``take`` and ``apply`` are synchronous and do no I/O; ``cache.feed`` calls them.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator

from google.protobuf.message import DecodeError

from knarr.machinery.errors import status_error
from knarr.machinery.resources import Registry, Resource
from services.apiserver.cache.collection import Collection
from services.apiserver.cache.history import Limits
from services.apiserver.cache.loading import Loading
from services.apiserver.entry import Entry, StaleEntry
from services.apiserver.storage.keys import KeyResources, object_key
from services.apiserver.storage.store import Batch, Change, KeyValue
from services.apiserver.storage.values import Values

log = logging.getLogger(__name__)

SWEEP_SECONDS = 0.25


class WatchCache:
    """Collections of every resource at one ``revision`` (0 before the first load)."""

    def __init__(
        self,
        registry: Registry,
        limits: Limits | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        values: Values | None = None,
    ) -> None:
        self.values = values or Values()
        self._key_resources = KeyResources(registry)
        # Resources served since the last load: since which revision, and what changed meanwhile, to be applied once their objects are read.
        self._opening: dict[Resource, tuple[int, list[Change]]] = {}
        self.opened: asyncio.Queue[Resource] = asyncio.Queue()
        # Set while every collection holds all that is stored.
        self.whole = asyncio.Event()
        self.whole.set()
        self._limits = limits or Limits()
        self._monotonic = monotonic
        self.registry = registry
        self._collections = {resource: Collection(resource, 0, self._limits) for resource in registry}
        registry.subscribe(self._changed)
        # Keys of objects that are stored and cannot be read: they are left out of collections.
        self._unread: set[str] = set()
        self._reached: list[tuple[int, int, float, asyncio.Future[bool]]] = []
        self._sweeping = False
        self._order = itertools.count()
        self.revision = 0

    def collection(self, resource: Resource) -> Collection:
        """Raises NotFound for a resource that is served no more."""
        found = self._collections.get(resource)
        if found is None:
            raise status_error("NotFound", "the server could not find the requested resource")
        return found

    def _changed(self, old: Resource | None, new: Resource | None) -> None:
        """Follows the registry: a new resource's objects are asked for, the watches of one that is gone end."""
        if old is not None:
            self._collections.pop(old).close()
            self._opening.pop(old, None)
        if new is not None:
            self._collections[new] = Collection(new, self.revision, self._limits)
            if self.revision:
                self._opening[new] = (self.revision, [])
                self.opened.put_nowait(new)
        self._see_whole()

    def is_opening(self, resource: Resource) -> bool:
        """Whether the objects of a resource that is served now are still to be read; ``fill`` takes them."""
        return resource in self._opening

    def fill(self, resource: Resource, items: Iterable[KeyValue], revision: int) -> bool:
        """Takes the stored objects of a new resource as of ``revision``, and what the watch has told since.

        False when they are not wanted, or are older than what the watch has told.
        """
        begun, changes = self._opening.get(resource, (0, []))
        if resource not in self._opening or revision < begun:
            return False
        del self._opening[resource]
        collection, now = self._collections[resource], self._monotonic()
        loading = Loading(self)
        loading.add(items)
        collection.replace(loading.entries.get(resource.key_prefix, []), revision)
        self._unread = {key for key in self._unread if not key.startswith(resource.key_prefix)} | loading.unread
        for change in changes:
            if change.revision > revision:
                self._apply(collection, change, now)
        self._see_whole()
        return True

    def _see_whole(self) -> None:
        if self._opening:
            self.whole.clear()
        else:
            self.whole.set()

    def trim(self) -> None:
        """Lets go of the history of collections that rest."""
        now = self._monotonic()
        for collection in self._collections.values():
            collection.history.trim(now)

    def __iter__(self) -> Iterator[Collection]:
        return iter(self._collections.values())

    def get(self, resource: Resource, namespace: str, name: str) -> Entry | None:
        return self.collection(resource).get(object_key(resource, namespace, name))

    def entry(self, item: KeyValue) -> Entry | None:
        """The entry of a stored value, the cache's own where it is the same; None when its resource is not registered."""
        found = self._decode(item.key, item.value, item.revision)
        if found is None:
            return None
        collection = self._collections.get(found.version.resource)
        known = collection.get(item.key) if collection is not None else None
        # In a store that was restored another value may have the revision.
        return known if known is not None and known.is_same(found) else found

    def knows(self, key: str) -> bool:
        """Whether a key is that of an object that is served."""
        return self._key_resources.of(key) is not None

    def _decode(self, key: str, value: bytes, revision: int) -> Entry | None:
        resource = self._key_resources.of(key)
        if resource is None:
            return None
        try:
            found = self.values.read(resource, key, value)
            return (StaleEntry if found.stale else Entry)(found.version, key, revision, found.raw)
        except (ValueError, DecodeError) as error:
            log.error("a stored value cannot be read and is left out: %s", error, extra={"key": key, "revision": revision})
            return None

    def is_unread(self, key: str) -> bool:
        """Whether something is stored under a key that an object has, and cannot be read."""
        return key in self._unread

    def why_unread(self, item: KeyValue) -> str:
        """Why there is no entry of a stored value, in words; empty when nothing but its resource is missing."""
        resource = self._key_resources.of(item.key)
        try:
            if resource is not None:
                self.values.read(resource, item.key, item.value)
        except (ValueError, DecodeError) as error:
            return str(error)
        return ""

    def apply(self, batch: Batch) -> None:
        """Applies changes in order, then wakes watchers and waiting writers."""
        now = self._monotonic()
        touched: set[Collection] = set()
        for change in batch.changes:
            resource = self._key_resources.of(change.key)
            if resource is None:
                continue
            collection = self._collections[resource]
            if resource in self._opening:
                self._opening[resource][1].append(change)
                continue
            touched.add(collection)
            self._apply(collection, change, now)
        self._advance(batch.revision, touched)

    def _apply(self, collection: Collection, change: Change, now: float) -> None:
        entry = None if change.value is None else self._decode(change.key, change.value, change.revision)
        if entry is None:
            collection.remove(change.key, change.revision, now)
        else:
            collection.put(entry, now)
        if entry is None and change.value is not None:
            self._unread.add(change.key)
        elif self._unread:
            self._unread.discard(change.key)

    def load(self, items: Iterable[KeyValue], revision: int) -> None:
        """Takes the whole store as of ``revision`` at once."""
        loading = Loading(self)
        loading.add(items)
        self.take(loading, revision)

    def take(self, loading: Loading, revision: int) -> None:
        """Takes the whole store as of ``revision``; every watch ends.

        What happened since the revision before is not known: not when an object that is missing was deleted, nor whether one that is there
        was deleted and made again. So it is not told as changes.
        """
        self.revision, self._unread = revision, loading.unread
        self._opening.clear()
        for resource in self.registry:
            known = resource in loading.resources
            self.collection(resource).replace(loading.entries.get(resource.key_prefix, []) if known else [], revision)
            if not known:
                # Part of its objects was read before it was served.
                self._opening[resource] = (revision, [])
                self.opened.put_nowait(resource)
        self._see_whole()
        self._advance(revision, ())

    async def wait_for(self, revision: int, timeout_seconds: float) -> bool:
        """Waits until the cache has reached ``revision``; False when it did not in time."""
        if self.revision >= revision:
            return True
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        heapq.heappush(self._reached, (revision, next(self._order), loop.time() + timeout_seconds, future))
        if timeout_seconds < SWEEP_SECONDS:
            loop.call_later(timeout_seconds, self._sweep)
        elif not self._sweeping:
            self._sweeping = True
            loop.call_later(SWEEP_SECONDS, self._sweep_again, loop)
        return await future

    def _sweep_again(self, loop: asyncio.AbstractEventLoop) -> None:
        """One timer for all who wait: a timer for each would cost as much as the rest of the wait."""
        self._sweep()
        self._sweeping = bool(self._reached)
        if self._sweeping:
            loop.call_later(SWEEP_SECONDS, self._sweep_again, loop)

    def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        for _, _, deadline, future in self._reached:
            if deadline <= now:
                _resolve(future, False)
        self._reached = [waiter for waiter in self._reached if not waiter[3].done()]
        heapq.heapify(self._reached)

    def _advance(self, revision: int, touched: Iterable[Collection]) -> None:
        self.revision = max(self.revision, revision)
        for collection in touched:
            collection.wake()
        while self._reached and self._reached[0][0] <= self.revision:
            *_, future = heapq.heappop(self._reached)
            _resolve(future, True)


def _resolve(future: asyncio.Future[bool], result: bool) -> None:
    if not future.done():
        future.set_result(result)
