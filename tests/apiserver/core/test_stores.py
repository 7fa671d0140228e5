"""Both stores pass one conformance suite; and what only the one in memory can be asked in a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.apiserver.storage.etcd import EtcdSettings, EtcdStore
from services.apiserver.storage.memory import MemoryStore
from services.apiserver.storage.store import Batch, Change, Put, Transaction
from tests.apiserver.core.store_conformance import PREFIX, StoreConformance, key, put
from tests.support.etcd import EtcdServer
from tests.support.virtual_time import virtual_time


class TestMemoryStore(StoreConformance):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()


@pytest.mark.etcd
class TestEtcdStore(StoreConformance):
    @pytest.fixture
    async def store(self, etcd_server: EtcdServer) -> AsyncIterator[EtcdStore]:
        made = EtcdStore(EtcdSettings((etcd_server.endpoint,)))
        for item in (await made.range(PREFIX)).items:
            await made.commit(Transaction({}, deletes=[item.key]))
        yield made
        await made.close()


def lasting(name: str, seconds: int) -> Transaction:
    return Transaction({}, [Put(key(name), b"", seconds)])


@virtual_time
async def test_a_value_with_a_time_to_live_ends_as_a_change() -> None:
    store = MemoryStore()
    await store.commit(lasting("a", 60))
    stream = store.watch(PREFIX, store.revision + 1)
    assert await anext(stream) == Batch([], store.revision)
    ended = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(59)
    assert await store.get(key("a")) is not None
    await asyncio.sleep(2)
    assert await store.get(key("a")) is None
    assert (await ended).changes == [Change(key("a"), None, store.revision)]


@virtual_time
async def test_a_later_write_decides_when_a_value_ends() -> None:
    store = MemoryStore()
    await store.commit(lasting("longer", 60))
    await store.commit(lasting("for ever", 60))
    await asyncio.sleep(30)
    await store.commit(lasting("longer", 60))
    await put(store, "for ever")
    await asyncio.sleep(45)
    assert [item.key for item in store.items(PREFIX)] == [key("for ever"), key("longer")]
    await asyncio.sleep(45)
    assert [item.key for item in store.items(PREFIX)] == [key("for ever")]


def test_what_is_compacted_takes_no_memory() -> None:
    store = MemoryStore()
    for number in range(100):
        store.apply(Transaction({}, [Put(key("a"), str(number).encode()), Put(key(f"gone-{number}"), b"")]))
        store.apply(Transaction({}, deletes=[key(f"gone-{number}")]))
    store.forget(store.revision)
    assert {name: len(versions) for name, versions in store._versions.items()} == {key("a"): 1}
    assert store._keys == [key("a")] and len(store._log) <= 1
