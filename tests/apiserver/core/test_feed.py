"""The feed keeps the cache in step through broken, compacted and rewound stores."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.catalog import registry
from knarr.machinery.errors import Expired, StatusError
from services.apiserver.api import Event, Ref
from services.apiserver.backend import Backend, Waits
from services.apiserver.cache.feed import Feed
from services.apiserver.cache.history import Limits
from services.apiserver.cache.watch_cache import WatchCache
from services.apiserver.storage.memory import MemoryStore
from services.apiserver.storage.store import Put, Transaction
from tests.apiserver.core.test_cache import CONFIG_MAPS, PREFIX, value
from tests.support.caller import Caller
from tests.support.faults import FaultyStore

REF = Ref(CONFIG_MAPS.storage, "x")


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore()


@pytest.fixture
async def api(store: FaultyStore) -> AsyncIterator[Caller]:
    cache = WatchCache(registry(), Limits(count=50))
    feed = Feed(store, cache)
    task = asyncio.create_task(feed.run())
    async with asyncio.timeout(5):
        await feed.synced.wait()
    yield Caller.of(Backend(store, cache, feed, waits=Waits(0.05, 0.05, 0.05)))
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    store.away = False
    expected = {item.key: item.revision for item in store.inner.items(PREFIX)}
    cached = {key: entry.revision for key in cache.collection(CONFIG_MAPS) if (entry := cache.collection(CONFIG_MAPS).get(key))}
    assert cached == expected


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def take(stream: AsyncIterator[Any], count: int) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    async with asyncio.timeout(5):
        while len(found) < count:
            batch: list[Event] = await anext(stream)
            found += [(event.type, event.entry.name if event.entry else "") for event in batch]
    return found


async def test_a_broken_watch_resumes_without_loss(api: Caller, store: FaultyStore) -> None:
    stream = api.watch(REF, meta.ListOptions(resource_version="1"))
    store.put(f"{PREFIX}x/a", value("1"))
    assert await take(stream, 1) == [("ADDED", "a")]
    store.away = True
    store.break_watches()
    store.put(f"{PREFIX}x/b", value("1"))
    await asyncio.sleep(0.02)
    store.away = False
    assert await take(stream, 1) == [("ADDED", "b")]
    await stream.aclose()  # type: ignore[attr-defined]


async def test_a_watch_across_a_compaction_ends_instead_of_inventing_what_happened(api: Caller, store: FaultyStore) -> None:
    """One that was deleted at an unknown revision, one that was deleted and made again: neither can be told."""
    store.put(f"{PREFIX}x/a", value("1"))
    store.put(f"{PREFIX}x/b", value("1"))
    stream = api.watch(REF, meta.ListOptions(resource_version="1"))
    assert await take(stream, 2) == [("ADDED", "a"), ("ADDED", "b")]
    store.away = True
    store.break_watches()
    await asyncio.sleep(0)
    store.put(f"{PREFIX}x/a", None)
    store.put(f"{PREFIX}x/b", None)
    store.put(f"{PREFIX}x/b", value("2"))
    middle = store.put(f"{PREFIX}x/c", value("1"))
    store.put(f"{PREFIX}x/c", None)
    store.inner.forget(store.inner.revision)
    store.away = False
    with pytest.raises(Expired, match="too old resource version"):
        await take(stream, 1)
    for revision in (3, middle):
        with pytest.raises(Expired):
            await take(api.watch(REF, meta.ListOptions(resource_version=str(revision))), 1)
    page = await api.list(REF, meta.ListOptions())
    assert [entry.name for entry in page.entries] == ["b"] and page.revision == store.inner.revision
    stream = api.watch(REF, meta.ListOptions(resource_version=str(page.revision)))
    store.put(f"{PREFIX}x/b", None)
    assert await take(stream, 1) == [("DELETED", "b")]
    await stream.aclose()  # type: ignore[attr-defined]


async def test_a_world_that_goes_on_where_the_other_was_is_known_by_its_last_change(api: Caller, store: FaultyStore) -> None:
    """Restored to before that change, and come past its revision since: neither name, term nor revision tell."""
    store.put(f"{PREFIX}x/a", value("1"))
    store.put(f"{PREFIX}x/a", value("2"))
    await until(lambda: api.backend.cache.revision == store.inner.revision)
    stream = api.watch(REF, meta.ListOptions(resource_version="1"))
    assert len(await take(stream, 2)) == 2
    other = MemoryStore()
    store.inner = other
    for text in "1345":
        store.put(f"{PREFIX}x/a", value(text))
    store.break_watches()
    with pytest.raises(Expired):
        await take(stream, 1)
    assert [entry.revision for entry in (await api.list(REF, meta.ListOptions())).entries] == [other.revision]


async def test_readers_of_a_shared_store_wait_for_the_world_that_it_is_now(store: FaultyStore) -> None:
    """Before the watch has noticed anything: the answer about what is newest tells."""
    cache = WatchCache(registry())
    feed = Feed(store, cache)
    task = asyncio.create_task(feed.run())
    await feed.synced.wait()
    api = Caller.of(Backend(store, cache, feed, shared=True))
    for number in range(5):
        store.put(f"{PREFIX}x/{number}", value("1"))
    assert len((await api.list(REF, meta.ListOptions())).entries) == 5
    token = (await api.list(REF, meta.ListOptions(limit=2))).continue_token
    store.inner = MemoryStore()
    store.put(f"{PREFIX}x/kept", value("1"))
    page = await api.list(REF, meta.ListOptions())
    assert ([entry.name for entry in page.entries], page.revision) == (["kept"], 2)
    assert (await api.get(Ref(REF.version, "x", "kept"))).entry is not None
    for number in range(9):
        store.put(f"{PREFIX}x/new-{number}", value("1"))
    again = MemoryStore()
    store.inner = again
    for number in range(50):
        again.apply(Transaction({}, [Put("/elsewhere", str(number).encode())]))
    store.break_watches()
    await until(lambda: feed.floor == again.revision)
    with pytest.raises(Expired):
        await api.list(REF, meta.ListOptions(limit=2, continue_token=token))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_an_emptied_store_expires_every_watch(api: Caller, store: FaultyStore) -> None:
    for number in range(5):
        store.put(f"{PREFIX}x/{number}", value("1"))
    stream = api.watch(REF, meta.ListOptions(resource_version="1"))
    assert len(await take(stream, 5)) == 5
    store.inner = MemoryStore()
    store.put("/elsewhere", b"")
    store.break_watches()
    with pytest.raises(StatusError) as caught:
        await take(stream, 1)
    assert caught.value.reason == "Expired"
    await until(lambda: api.backend.cache.revision == 2)


async def test_a_watcher_that_never_reads_costs_nothing_and_expires(api: Caller, store: FaultyStore) -> None:
    stream = api.watch(REF, meta.ListOptions(resource_version="1"))
    store.put(f"{PREFIX}x/a", value("1"))
    assert await take(stream, 1) == [("ADDED", "a")]
    for number in range(200):
        store.put(f"{PREFIX}x/a", value(str(number)))
    await until(lambda: api.backend.cache.revision == store.inner.revision)
    history = api.backend.cache.collection(CONFIG_MAPS).history
    assert len(history.since(history.position_after(history.floor), 1000)) == 50
    with pytest.raises(StatusError, match="too old resource version: 1 "):
        await take(stream, 1)


async def test_an_old_revision_is_gone_and_a_future_one_is_too_large(api: Caller, store: FaultyStore) -> None:
    for number in range(200):
        store.put(f"{PREFIX}x/a", value(str(number)))
    await until(lambda: api.backend.cache.revision == store.inner.revision)
    with pytest.raises(StatusError) as caught:
        await take(api.watch(REF, meta.ListOptions(resource_version="3")), 1)
    assert (caught.value.reason, caught.value.code) == ("Expired", 410)
    for call in (
        api.list(REF, meta.ListOptions(resource_version="999")),
        take(api.watch(REF, meta.ListOptions(resource_version="999")), 1),
    ):
        with pytest.raises(StatusError, match="Too large resource version: 999, current: 201") as caught:
            await call
        assert (caught.value.reason, caught.value.code) == ("Timeout", 504)


async def test_a_store_that_is_away_is_said_plainly(api: Caller, store: FaultyStore) -> None:
    store.away = True
    store.break_watches()
    obj = core.ConfigMap()
    obj.metadata.name = "a"
    with pytest.raises(StatusError) as caught:
        await api.create(REF, obj, meta.CreateOptions())
    assert caught.value.code == 503
    assert not (await api.list(REF, meta.ListOptions())).entries  # reads go on
