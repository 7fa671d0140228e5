"""Fixtures: a fresh API core per test, on a store in memory and on etcd, with its invariant checked at the end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.catalog import registry, version_of
from services.apiserver.api import Ref
from services.apiserver.backend import Backend, Waits
from services.apiserver.cache.feed import Feed
from services.apiserver.cache.watch_cache import WatchCache
from services.apiserver.storage.etcd import EtcdSettings, EtcdStore
from services.apiserver.storage.keys import ROOT
from services.apiserver.storage.memory import MemoryStore
from services.apiserver.storage.pages import read_all
from services.apiserver.storage.store import Store, Transaction
from tests.support.caller import Caller
from tests.support.etcd import EtcdServer, running_etcd


@pytest.fixture(scope="session")
def etcd_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """Shared by the session; every test that uses it empties it first."""
    with running_etcd(tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture
def own_etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    """A server of the test's own, to be killed and compacted."""
    with running_etcd(tmp_path) as server:
        yield server


@contextlib.asynccontextmanager
async def running_backend(endpoint: str, *, timeout_seconds: float = 5.0, waits: Waits | None = None) -> AsyncIterator[Backend]:
    """As ``running_on``, on the etcd at ``endpoint``."""
    async with running_on(EtcdStore(EtcdSettings((endpoint,), timeout_seconds=timeout_seconds)), waits) as backend:
        yield backend


@contextlib.asynccontextmanager
async def running_on(store: Store, waits: Waits | None = None) -> AsyncIterator[Backend]:
    """A backend with its feed running; at the end the cache must equal the store, which is closed."""
    cache = WatchCache(registry())
    feed = Feed(store, cache)
    task = asyncio.create_task(feed.run())
    try:
        async with asyncio.timeout(10):
            await feed.synced.wait()
        yield Backend(store, cache, feed, waits=waits)
        async with asyncio.timeout(20):
            await check_cache_equals_store(store, cache)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await store.close()


async def check_cache_equals_store(store: Store, cache: WatchCache) -> None:
    """A server may still be making what it makes at its start, and deletions leave no revision behind: both are looked at a few times."""
    for _ in range(100):
        items, _ = await read_all(store, ROOT)
        assert await cache.wait_for(max((item.revision for item in items), default=0), 10)
        stored = {entry.key: (entry.revision, entry.raw) for item in items if (entry := cache.entry(item))}
        cached = {key: (entry.revision, entry.raw) for found in cache for key in found if (entry := found.get(key))}
        if stored == cached:
            return
        await asyncio.sleep(0.01)
    assert stored == cached


async def empty(endpoint: str) -> None:
    store = EtcdStore(EtcdSettings((endpoint,)))
    try:
        page = await store.range(ROOT)
        for item in page.items:
            await store.commit(Transaction({}, deletes=[item.key]))
    finally:
        await store.close()


async def create_namespace(api: Caller, name: str) -> None:
    """With the account as which its pods run: no controller makes it here."""
    await api.create(Ref(version_of(core.Namespace)), core.Namespace(metadata=meta.ObjectMeta(name=name)), meta.CreateOptions())
    account = core.ServiceAccount(metadata=meta.ObjectMeta(name="default"))
    await api.create(Ref(version_of(core.ServiceAccount), name), account, meta.CreateOptions())


# Opens the test's store once more, as another API server does.
OpenStore = Callable[[], Store]


@pytest.fixture(params=["memory", pytest.param("etcd", marks=pytest.mark.etcd)])
async def open_store(request: pytest.FixtureRequest) -> OpenStore:
    if request.param == "memory":
        store = MemoryStore()
        return lambda: store
    server: EtcdServer = request.getfixturevalue("etcd_server")
    await empty(server.endpoint)
    return lambda: EtcdStore(EtcdSettings((server.endpoint,)))


@pytest.fixture
async def backend(open_store: OpenStore) -> AsyncIterator[Backend]:
    async with running_on(open_store()) as found:
        yield found


@pytest.fixture
async def api(backend: Backend) -> Caller:
    """An API with the namespace ``default``."""
    found = Caller.of(backend)
    await create_namespace(found, "default")
    return found
