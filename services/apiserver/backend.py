"""The store and the cache as the verbs use them: read what is cached, write and see it cached."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from knarr.machinery.errors import StatusError, status_error
from knarr.machinery.resources import Resource
from services.apiserver.cache.feed import Feed, Place
from services.apiserver.cache.watch_cache import WatchCache
from services.apiserver.canonical import canonicalize
from services.apiserver.deadline import Patience, TimeIsUp, within
from services.apiserver.entry import Entry
from services.apiserver.results import Ref
from services.apiserver.storage.keys import object_key
from services.apiserver.storage.newest import Newest
from services.apiserver.storage.store import KeyValue, Outcome, Put, Store, Transaction

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Waits:
    """How long requests wait, unless their deadline comes first. ``sync_seconds``: for the first load, and for what is newest;
    ``own_write_seconds``: until the cache has a write; ``revision_seconds``: until the cache reaches a revision that a reader names;
    ``write_seconds``: from the allocation of what goes with a write until it is stored and seen, admission not included."""

    sync_seconds: float = 10.0
    own_write_seconds: float = 5.0
    revision_seconds: float = 3.0
    write_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Extra:
    """Further keys of the same transaction, e.g. the addresses that a Service takes or gives back."""

    guards: Mapping[str, int]
    puts: Sequence[Put] = ()
    deletes: Sequence[str] = ()

    def beside(self, other: Extra) -> Extra:
        """Both in one transaction."""
        return Extra({**self.guards, **other.guards}, [*self.puts, *other.puts], [*self.deletes, *other.deletes])


NO_EXTRA = Extra({})


RESTORED = (
    "etcd is being read again, perhaps because it was restored from a backup meanwhile; it is not known whether the write was stored. "
    "Read the object before you try again"
)


def now() -> datetime:
    """The present in UTC, in whole seconds as Kubernetes keeps it."""
    return datetime.now(UTC).replace(microsecond=0)


class Backend:
    """Shared by all verbs. ``clock`` stamps objects, ``source`` makes names and uids. In a ``shared`` store others write too.

    A ``deadline`` is the event loop's time at which a request's caller waits no longer: then Timeout is raised.
    """

    def __init__(
        self,
        store: Store,
        cache: WatchCache,
        feed: Feed,
        *,
        waits: Waits | None = None,
        shared: bool = False,
        clock: Callable[[], datetime] = now,
        source: random.Random | None = None,
    ) -> None:
        self.store, self.cache, self.feed, self.shared, self.clock = store, cache, feed, shared, clock
        self.source = source or random.Random()
        self._newest = Newest(store.newest_revision)
        # The last revision that this server wrote.
        self._written = Place(0, 0)
        self.waits = waits or Waits()
        self._patience = Patience()

    async def synced(self, deadline: float = math.inf) -> None:
        """Waits until the cache holds everything that is served; raises ServiceUnavailable when it takes too long."""
        if not (self.feed.synced.is_set() and self.cache.whole.is_set()):
            await self._bounded(self.waits.sync_seconds, _unread, deadline, self._whole(), "the first load from etcd")

    async def _whole(self) -> None:
        await self.feed.synced.wait()
        await self.cache.whole.wait()

    async def latest(self, deadline: float = math.inf, caller: str = "") -> None:
        """Waits until the cache has all that was written before this call, by whomever; ``caller`` is who wants to read it.

        What this server wrote is awaited; whether others did, only the store knows. Raises ServiceUnavailable or
        Timeout when it cannot be asked or the cache lags too far behind.
        """
        if not self.shared:
            if self.cache.revision < self._written.revision and self.feed.place.world == self._written.world:
                await self.reach(self._written.revision, self.waits.sync_seconds, deadline)
            return
        while True:
            place = self.feed.place
            revision = await within(deadline, self._newest.revision(caller), "etcd")
            if self.feed.trusts(place, revision):
                break
            await self.synced(deadline)
        await self.reach(revision, self.waits.sync_seconds, deadline)

    def cached(self, resource: Resource, namespace: str, name: str) -> Entry | None:
        """The object as the cache knows it, if it holds everything by now; else None, as for one that it does not know."""
        whole = self.feed.synced.is_set() and self.cache.whole.is_set()
        return self.cache.get(resource, namespace, name) if whole else None

    async def current(self, ref: Ref, deadline: float = math.inf) -> Entry | None:
        """The object as the cache knows it; asks the store when the cache knows none."""
        await self.synced(deadline)
        return self.cache.get(ref.resource, ref.namespace, ref.name) or await self.fresh(ref, deadline)

    async def fresh(self, ref: Ref, deadline: float = math.inf) -> Entry | None:
        """The object as the store has it now; the cache has come to it, so that nobody who hears of it reads an older one."""
        item = await within(deadline, self.store.get(object_key(ref.resource, ref.namespace, ref.name)), "etcd")
        if item is None:
            return None
        if item.revision > self.cache.revision:
            await within(deadline, self._seen(item.revision), "the watch cache")
        return self._entry(ref, item)

    async def unread(self, ref: Ref, deadline: float = math.inf) -> Entry | None:
        """None, or the object as the store has it when the cache has left it out; raises InternalError where it still cannot be read."""
        if not self.cache.is_unread(object_key(ref.resource, ref.namespace, ref.name)):
            return None
        return await self.fresh(ref, deadline)

    async def newer(self, ref: Ref, entry: Entry, deadline: float = math.inf) -> Entry | None:
        """The object as the store has it now if that is another than ``entry``, as it may be in a shared store."""
        if not self.shared:
            return None
        found = await self.fresh(ref, deadline)
        return found if found is not None and found.revision != entry.revision else None

    async def storing(self, deadline: float, writing: Coroutine[Any, Any, T]) -> T:
        """What ``writing``, the storing of one object, answers; raises Timeout, in etcd's name, when it takes longer than
        ``write_seconds``: behind a store that hangs, writers would wait for one another."""
        what = "etcd; it is not known whether the write was stored"
        return await self._bounded(self.waits.write_seconds, self._unwritten, deadline, writing, what)

    async def write(self, ref: Ref, raw: bytes, revision: int, extra: Extra = NO_EXTRA, ttl_seconds: int = 0) -> tuple[Outcome, Entry]:
        """Stores ``raw`` if the object still has ``revision`` (0: does not exist); with ``ttl_seconds`` it vanishes that long after.

        Answers once the cache has the write. The entry is the object as written; meaningless when
        the outcome did not succeed.
        """
        stored, key = ref.resource.storage, object_key(ref.resource, ref.namespace, ref.name)
        puts = [Put(key, self.cache.values.value(ref.resource, key, raw), ttl_seconds), *extra.puts]
        outcome = await self._commit(Transaction({key: revision, **extra.guards}, puts, extra.deletes))
        cached = self.cache.get(ref.resource, ref.namespace, ref.name)
        if cached is not None and cached.revision == outcome.revision:
            return outcome, cached
        return outcome, Entry(stored, key, outcome.revision, raw)

    async def remove(self, entry: Entry, extra: Extra = NO_EXTRA) -> Outcome:
        """Deletes the object if it is still the one of ``entry``; answers once the cache has lost it."""
        return await self._commit(Transaction({entry.key: entry.revision, **extra.guards}, extra.puts, [entry.key, *extra.deletes]))

    async def _commit(self, transaction: Transaction) -> Outcome:
        """Answers once the cache has the write, or what refused it. Raises Timeout when the guards were not this store's."""
        place = self.feed.place
        outcome = await self.store.commit(transaction)
        if not self.feed.trusts(place, outcome.revision):
            raise status_error("Timeout", RESTORED)
        if outcome.succeeded and outcome.revision > self.cache.revision:
            self._written = Place(place.world, outcome.revision)
        await self._seen(outcome.revision)
        return outcome

    def found(self, outcome: Outcome, ref: Ref) -> Entry | None:
        """The object as a failed transaction saw it."""
        item = outcome.current.get(object_key(ref.resource, ref.namespace, ref.name))
        return self._entry(ref, item) if item else None

    def _entry(self, ref: Ref, item: KeyValue) -> Entry | None:
        """That of a stored object. Raises InternalError when there is one that cannot be read."""
        found = self.cache.entry(item)
        if found is None and (reason := self.cache.why_unread(item)):
            name = f'{ref.resource.storage.qualified} "{ref.name}"'
            raise status_error("InternalError", f"Internal error occurred: {name} is stored, but cannot be read: {reason}")
        return found

    async def is_stale(self, ref: Ref, entry: Entry) -> bool:
        """Whether the object is stored under another key, or otherwise encrypted, than it would be now; then it is written although it
        is the same."""
        values = self.cache.values
        if not values.encrypts(ref.resource):
            return False
        item = await self.store.get(entry.key)
        return item is not None and not values.is_newest(ref.resource, item.value)

    async def reach(self, revision: int, seconds: float = 0.0, deadline: float = math.inf) -> None:
        """Waits until the cache has ``revision``, for so many seconds or as long as a named revision is waited for; raises
        Timeout when it is too large."""
        if self.cache.revision >= revision:
            return
        left = max(deadline - asyncio.get_running_loop().time(), 0.0)
        if not await self.cache.wait_for(revision, min(seconds or self.waits.revision_seconds, left)):
            raise too_large(revision, self.cache.revision)

    async def _seen(self, revision: int) -> None:
        if not await self.cache.wait_for(revision, self.waits.own_write_seconds):
            log.warning("the watch cache is behind a write", extra={"revision": revision, "cache_revision": self.cache.revision})

    async def _bounded(
        self, seconds: float, late: Callable[[], StatusError], deadline: float, waiting: Coroutine[Any, Any, T], what: str
    ) -> T:
        """What ``waiting`` answers; raises ``late`` after so many seconds, Timeout at the deadline if that is earlier."""
        end = asyncio.get_running_loop().time() + seconds
        if deadline < end:
            return await within(deadline, waiting, what)
        try:
            return await self._patience.until(end, waiting)
        except TimeIsUp:
            raise late() from None

    def _unwritten(self) -> StatusError:
        seconds = self.waits.write_seconds
        message = (
            f"etcd did not finish this write within {seconds:g} s; it is not known whether the write was stored. "
            "See that etcd runs, then read the object before you try again"
        )
        return status_error("Timeout", message)


def _unread() -> StatusError:
    return status_error("ServiceUnavailable", "the API server is still reading etcd; try again in a moment, and see that etcd runs")


def too_large(revision: int, current: int) -> StatusError:
    error = status_error("Timeout", f"Timeout: Too large resource version: {revision}, current: {current}", retry_after_seconds=1)
    error.status.details.causes.add(reason="ResourceVersionTooLarge", message="Too large resource version")
    return error


def parse_revision(text: str) -> int:
    """A resourceVersion as a number; raises BadRequest. Empty is 0."""
    if not text:
        return 0
    if not text.isascii() or not text.isdigit():
        raise status_error("BadRequest", f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax')
    return int(text)


def serialize(obj: Any) -> bytes:
    """The bytes to store: without resourceVersion, equal for equal objects."""
    obj.metadata.resource_version = ""
    canonicalize(obj)
    raw: bytes = obj.SerializeToString(deterministic=True)
    return raw
