"""A store in memory with the whole history, breakable and compactable on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from knarr.machinery.errors import status_error
from services.apiserver.storage.store import Batch, Change, Compacted, HistoryLost, KeyValue, Outcome, RangePage, Transaction


class FakeStore:
    """Every commit is one revision. ``away`` makes every call fail; ``break_watches`` ends the streams."""

    def __init__(self) -> None:
        self.revision = 1
        self.compacted = 0
        self.away = False
        self.log: list[Change] = []
        self._changed = asyncio.Event()
        self._epoch = 0

    def state(self, revision: int = 0) -> dict[str, KeyValue]:
        found: dict[str, KeyValue] = {}
        for change in self.log:
            if revision and change.revision > revision:
                break
            if change.value is None:
                found.pop(change.key, None)
            else:
                found[change.key] = KeyValue(change.key, change.value, change.revision)
        return found

    def _check(self) -> None:
        if self.away:
            raise status_error("ServiceUnavailable", "the store is away")

    async def get(self, key: str) -> KeyValue | None:
        self._check()
        return self.state().get(key)

    async def range(self, prefix: str, *, start: str = "", revision: int = 0, limit: int = 0) -> RangePage:
        self._check()
        if revision and revision < self.compacted:
            raise Compacted(self.compacted)
        found = [item for key, item in sorted(self.state(revision).items()) if key.startswith(prefix) and key >= start]
        page = found[:limit] if limit else found
        return RangePage(page, self.revision, len(page) < len(found), len(found))

    async def commit(self, transaction: Transaction) -> Outcome:
        self._check()
        state = self.state()
        current = {key: state[key] for key in transaction.guards if key in state}
        if any((current[key].revision if key in current else 0) != wanted for key, wanted in transaction.guards.items()):
            return Outcome(False, self.revision, current)
        self.revision += 1
        self.log += [Change(put.key, put.value, self.revision) for put in transaction.puts]
        self.log += [Change(key, None, self.revision) for key in transaction.deletes if key in state]
        self.wake()
        return Outcome(True, self.revision)

    async def newest_revision(self) -> int:
        self._check()
        return self.revision

    def put(self, key: str, value: bytes | None) -> int:
        """A change from elsewhere; None deletes. Answers its revision."""
        self.revision += 1
        self.log.append(Change(key, value, self.revision))
        self.wake()
        return self.revision

    def wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def break_watches(self) -> None:
        self._epoch += 1
        self.wake()

    async def compact(self, revision: int) -> None:
        self._check()
        self.compacted = revision

    async def watch(self, prefix: str, revision: int) -> AsyncIterator[Batch]:
        self._check()
        if revision <= self.compacted:
            raise Compacted(self.compacted)
        if self.revision < revision - 1:
            raise HistoryLost("the store went backwards")
        epoch, seen = self._epoch, revision - 1
        while epoch == self._epoch:
            news = [change for change in self.log if change.revision > seen and change.key.startswith(prefix)]
            if news:
                seen = news[-1].revision
                yield Batch(news, seen)
                continue
            await self._changed.wait()
        raise status_error("ServiceUnavailable", "the watch broke")
