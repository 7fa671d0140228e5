"""Faults that tests put between a component and what it stands on, from outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, TypeVar

from knarr.machinery.errors import StatusError, status_error
from services.apiserver.storage.memory import MemoryStore
from services.apiserver.storage.store import Batch, Change, KeyValue, Outcome, Put, RangePage, Store, Transaction

T = TypeVar("T")


class Breaker:
    """Ends streams that are open, with an error. Those opened later are not concerned."""

    def __init__(self) -> None:
        self._broken: set[asyncio.Future[None]] = set()

    def strike(self, error: StatusError) -> None:
        broken, self._broken = self._broken, set()
        for future in broken:
            future.set_exception(error)

    async def through(self, stream: AsyncIterator[T]) -> AsyncGenerator[T, None]:
        """What the stream yields, until ``strike``; its error is raised even when there is more to yield."""
        broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._broken.add(broken)
        step: asyncio.Task[T] | None = None
        try:
            while True:
                step = asyncio.ensure_future(anext(stream))
                waited: set[asyncio.Future[Any]] = {step, broken}
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                if broken.done():
                    broken.result()
                try:
                    yield step.result()
                except StopAsyncIteration:
                    return
        finally:
            self._broken.discard(broken)
            if broken.done():
                broken.exception()  # of no use to one that left before
            if step is not None:
                step.cancel()
                await asyncio.gather(step, return_exceptions=True)
            await stream.aclose()  # type: ignore[attr-defined]


class FaultyStore(Store):
    """A store in memory that is ``away`` on demand: then every call fails. ``inner`` may be exchanged, as by a restored backup."""

    def __init__(self) -> None:
        self.inner = MemoryStore()
        self.away = False
        self._breaker = Breaker()

    @property
    def world(self) -> int:
        return self.inner.world

    def put(self, key: str, value: bytes | None) -> int:
        """A change from elsewhere; None deletes. Answers its revision."""
        change = Transaction({}, deletes=[key]) if value is None else Transaction({}, [Put(key, value)])
        return self.inner.apply(change).revision

    def break_watches(self) -> None:
        """Ends the watches that are open."""
        self._breaker.strike(status_error("ServiceUnavailable", "the watch broke"))

    async def get(self, key: str) -> KeyValue | None:
        self._check()
        return await self.inner.get(key)

    async def range(self, prefix: str, *, start: str = "", revision: int = 0, limit: int = 0) -> RangePage:
        self._check()
        return await self.inner.range(prefix, start=start, revision=revision, limit=limit)

    async def commit(self, transaction: Transaction) -> Outcome:
        self._check()
        return await self.inner.commit(transaction)

    async def newest_revision(self) -> int:
        self._check()
        return await self.inner.newest_revision()

    async def watch(self, prefix: str, revision: int, after: Change | None = None) -> AsyncIterator[Batch]:
        self._check()
        async for batch in self._breaker.through(self.inner.watch(prefix, revision, after)):
            yield batch

    async def compact(self, revision: int) -> None:
        self._check()
        await self.inner.compact(revision)

    async def trouble(self) -> str:
        self._check()
        return await self.inner.trouble()

    async def close(self) -> None:
        await self.inner.close()

    def _check(self) -> None:
        if self.away:
            raise status_error("ServiceUnavailable", "the store is away")
