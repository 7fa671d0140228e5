"""A store in this process's memory, with etcd's rules: what is in it ends with the process.

It stands where etcd would be a burden: under tests of components and of programs that use the API. Nothing in it
waits, so every call is done when it is made; waiting readers of ``watch`` run at the event loop's next turn.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections.abc import AsyncIterator, Iterator, Sequence
from operator import attrgetter

from services.apiserver.storage.store import (
    Batch,
    Change,
    Compacted,
    FutureRevision,
    HistoryLost,
    KeyValue,
    Outcome,
    RangePage,
    Transaction,
)

REVISION = attrgetter("revision")
# What etcd answers first, before anything is written.
FIRST_REVISION = 1


class MemoryStore:
    """A ``Store``. Every revision is kept until ``compact``.

    ``apply``, ``items`` and ``forget`` do at once what ``commit``, ``range`` and ``compact`` do; they need no event loop,
    except for a put with ``ttl_seconds``, which the loop's time ends.
    """

    world = 0

    def __init__(self) -> None:
        self.revision = FIRST_REVISION
        # The oldest revision that can be asked for.
        self.oldest = 0
        # Every key of which a version is kept, in order; its versions, oldest first, a deletion being one too.
        self._keys: list[str] = []
        self._versions: dict[str, list[Change]] = {}
        self._log: list[Change] = []
        # Of the keys that end by themselves.
        self._expiries: dict[str, asyncio.TimerHandle] = {}
        self._changed = asyncio.Event()

    def items(self, prefix: str, start: str = "", revision: int = 0) -> list[KeyValue]:
        """What ``range`` answers, in one piece. Raises Compacted, FutureRevision."""
        if revision > self.revision:
            raise FutureRevision(revision)
        if revision and revision < self.oldest:
            raise Compacted(self.oldest)
        at = revision or self.revision
        return [found for key in self._keys_with(prefix, start) if (found := self._version(key, at)) is not None]

    def apply(self, transaction: Transaction) -> Outcome:
        """What ``commit`` does."""
        current = {key: found for key in transaction.guards if (found := self._version(key, self.revision)) is not None}
        if any((current[key].revision if key in current else 0) != wanted for key, wanted in transaction.guards.items()):
            return Outcome(False, self.revision, current)
        gone = [key for key in transaction.deletes if self._version(key, self.revision) is not None]
        if transaction.puts or gone:
            self.revision += 1
            for put in transaction.puts:
                self._record(Change(put.key, put.value, self.revision))
                if put.ttl_seconds:
                    expiry = asyncio.get_running_loop().call_later(put.ttl_seconds, self._expire, put.key, self.revision)
                    self._expiries[put.key] = expiry
            for key in gone:
                self._record(Change(key, None, self.revision))
            self._wake()
        return Outcome(True, self.revision)

    def forget(self, revision: int) -> None:
        """What ``compact`` does. Raises Compacted, FutureRevision."""
        if revision > self.revision:
            raise FutureRevision(revision)
        if revision <= self.oldest:
            raise Compacted(self.oldest)
        self.oldest = revision
        del self._log[: bisect_left(self._log, revision, key=REVISION)]
        for key, versions in list(self._versions.items()):
            overwritten = bisect_right(versions, revision, key=REVISION) - 1
            if overwritten >= 0:
                del versions[: overwritten + (versions[overwritten].value is None)]
            if not versions:
                del self._versions[key]
                del self._keys[bisect_left(self._keys, key)]
        self._wake()

    async def get(self, key: str) -> KeyValue | None:
        return self._version(key, self.revision)

    async def range(self, prefix: str, *, start: str = "", revision: int = 0, limit: int = 0) -> RangePage:
        found = self.items(prefix, start, revision)
        page = found[:limit] if limit else found
        return RangePage(page, self.revision, len(page) < len(found), len(found))

    async def commit(self, transaction: Transaction) -> Outcome:
        return self.apply(transaction)

    async def newest_revision(self) -> int:
        return self.revision

    async def watch(self, prefix: str, revision: int, after: Change | None = None) -> AsyncIterator[Batch]:
        seen = revision - 1
        if self.revision < seen:
            raise HistoryLost(f"the store is at revision {self.revision}, but {seen} was read from it before")
        if after is not None and seen >= self.oldest and self._version(after.key, seen) != _left_by(after):
            raise HistoryLost(f"the store does not know the change of revision {after.revision} that was read from it before")
        if seen + 1 < self.oldest:
            raise Compacted(self.oldest)
        yield Batch([], seen)
        while True:
            if seen + 1 < self.oldest:
                raise Compacted(self.oldest)
            if seen < self.revision:
                news = self._log[bisect_right(self._log, seen, key=REVISION) :]
                seen = self.revision
                yield Batch([change for change in news if change.key.startswith(prefix)], seen)
            else:
                await self._changed.wait()

    async def compact(self, revision: int) -> None:
        self.forget(revision)

    async def trouble(self) -> str:
        return ""

    async def close(self) -> None:
        """There is nothing to give back."""

    def _keys_with(self, prefix: str, start: str) -> Iterator[str]:
        for index in range(bisect_left(self._keys, start or prefix), len(self._keys)):
            key = self._keys[index]
            if not key.startswith(prefix):
                return
            yield key

    def _version(self, key: str, revision: int) -> KeyValue | None:
        """What the key holds at a revision that is kept."""
        versions: Sequence[Change] = self._versions.get(key, ())
        if versions and versions[-1].revision > revision:
            versions = versions[: bisect_right(versions, revision, key=REVISION)]
        if not versions:
            return None
        value = versions[-1].value
        return None if value is None else KeyValue(key, value, versions[-1].revision)

    def _record(self, change: Change) -> None:
        versions = self._versions.get(change.key)
        if versions is None:
            versions = self._versions[change.key] = []
            insort(self._keys, change.key)
        versions.append(change)
        self._log.append(change)
        if (expiry := self._expiries.pop(change.key, None)) is not None:
            expiry.cancel()

    def _expire(self, key: str, revision: int) -> None:
        """Ends what was put at that revision, if nothing was put there since."""
        self.apply(Transaction({key: revision}, deletes=[key]))

    def _wake(self) -> None:
        self._changed.set()
        self._changed.clear()


def _left_by(change: Change) -> KeyValue | None:
    """What a change leaves under its key."""
    return None if change.value is None else KeyValue(change.key, change.value, change.revision)
