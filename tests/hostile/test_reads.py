"""Whatever is asked of very many objects, the loop stays free for others, and nobody waits longer than their request may take.

What holds the loop is told by the thread's own time between two beats: that of other processes does not count.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import envelope
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import StatusError
from knarr.machinery.selectors import MAX_REQUIREMENTS
from services.apiserver.in_memory import ADMIN, ApiInMemory
from services.apiserver.pipeline.watch import Watch
from services.apiserver.request import LIST, WATCH, Request
from services.apiserver.results import Ref
from services.apiserver.storage.keys import object_key
from services.apiserver.storage.store import Put, Transaction

pytestmark = pytest.mark.hostile

HELD_SECONDS = 0.05
OBJECTS = 3000
REF = Ref(version_of(core.ConfigMap), "default")
# Each holds of every object, so that none ends the comparison.
CONDITIONS = [f"no-such-label-{number}!=x" for number in range(MAX_REQUIREMENTS)]
SELECTOR, NOTHING = ",".join(CONDITIONS), ",".join([*CONDITIONS[1:], "a!=b"])


def asked(verb: str, deadline: float = float("inf"), **options: object) -> Request:
    return Request(ADMIN, verb, REF, meta.ListOptions(**options), deadline)  # type: ignore[arg-type]


@pytest.fixture
async def api() -> AsyncIterator[ApiInMemory]:
    async with ApiInMemory() as api:
        put(api, range(OBJECTS))
        await api.settle()
        yield api


def put(api: ApiInMemory, numbers: range) -> None:
    for number in numbers:
        name = f"c{number:05}"
        obj = core.ConfigMap(metadata=meta.ObjectMeta(name=name, namespace="default", labels={"a": "b"}), data={"k": str(number)})
        value = envelope.wrap("v1", "ConfigMap", obj.SerializeToString())
        api.store.apply(Transaction({}, [Put(object_key(REF.resource, "default", name), value)]))


@asynccontextmanager
async def free_loop() -> AsyncIterator[None]:
    """Fails where the loop's thread works for long without letting others in."""
    held: list[float] = []

    async def beat() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            held.append(time.thread_time() - before)

    beating = asyncio.create_task(beat())
    await asyncio.sleep(0)
    # It would go through all that the tests hold; when it runs in a server is the affair of knarr.service.collector.
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        beating.cancel()
    assert max(held) < HELD_SECONDS


async def test_a_selector_of_many_conditions(api: ApiInMemory) -> None:
    async with free_loop():
        page = await api.server.api.list(asked(LIST, label_selector=SELECTOR))
    assert len(page.entries) == OBJECTS


async def test_pages_with_such_a_selector(api: ApiInMemory) -> None:
    async with free_loop():
        first = await api.server.api.list(asked(LIST, label_selector=SELECTOR, limit=500))
        second = await api.server.api.list(asked(LIST, label_selector=SELECTOR, limit=500, continue_token=first.continue_token))
        rest = await api.server.api.list(asked(LIST, label_selector=SELECTOR, limit=5000, continue_token=second.continue_token))
    assert [len(page.entries) for page in (first, second, rest)] == [500, 500, OBJECTS - 1000]
    assert len({entry.key for page in (first, second, rest) for entry in page.entries}) == OBJECTS


async def test_nobody_looks_on_for_who_waits_no_longer(api: ApiInMemory) -> None:
    deadline = asyncio.get_running_loop().time() + 0.01
    with pytest.raises(StatusError) as caught:
        await api.server.api.list(asked(LIST, deadline, label_selector=SELECTOR))
    assert caught.value.code == 504 and "the selectors" in caught.value.status.message


class Taker:
    """A watcher that takes what there is, as one behind a connection does."""

    def __init__(self, watch: Watch) -> None:
        self.watch, self.taken = watch, 0

    async def begin(self) -> None:
        await self.watch.begin()
        self.watch.sleep(self)

    def woken(self) -> None:
        batch = self.watch.take()
        assert batch is not None
        self.taken += len(batch)
        self.watch.sleep(self)


async def test_watches_with_such_a_selector(api: ApiInMemory) -> None:
    """From the present on, and from a time since when much has changed."""
    since = str(api.store.revision)
    put(api, range(OBJECTS))
    await api.settle()
    begins = ("", since)
    takers = [
        Taker(await api.server.api.watch(asked(WATCH, label_selector=SELECTOR, resource_version=begins[number % 2]))) for number in range(6)
    ]
    async with free_loop():
        for taker in takers:
            await taker.begin()
        async with asyncio.timeout(60):
            while any(taker.taken < OBJECTS for taker in takers):  # noqa: ASYNC110  what is waited for has no event
                await asyncio.sleep(0)
    for taker in takers:
        taker.watch.leave(taker)
        taker.watch.close()


async def test_a_selector_that_selects_nothing(api: ApiInMemory) -> None:
    """Who iterates a watch lets others in though there is nothing to tell."""
    watch = await api.server.api.watch(asked(WATCH, label_selector=NOTHING))
    async with free_loop():
        waiting = asyncio.create_task(anext(watch))
        while watch._initial is None if watch.has_begun else True:  # noqa: ASYNC110
            await asyncio.sleep(0)
        while watch._initial is not None:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.wait([waiting])
    watch.close()


async def test_a_whole_store_is_read_and_listed() -> None:
    """By a server that starts, and by a component of its process."""
    api = ApiInMemory()
    put(api, range(8_000))
    async with free_loop(), api:
        found = await api.client().list(core.ConfigMap, "default")
    assert len(found.items) == 8_000
