"""The watch cache without a store: exact state, exact changes, bounded memory."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import envelope
from knarr.machinery.catalog import registry, version_of
from knarr.machinery.resources import Registry, Resource
from services.apiserver.cache.collection import Collection
from services.apiserver.cache.history import CHANGE_BYTES, WARM_SECONDS, HistoryChange, Limits, Overrun
from services.apiserver.cache.loading import Loading
from services.apiserver.cache.watch_cache import WatchCache
from services.apiserver.entry import Entry
from services.apiserver.storage.store import Batch, Change, KeyValue

CONFIG_MAPS = version_of(core.ConfigMap).resource
PREFIX = CONFIG_MAPS.key_prefix


def value(text: str) -> bytes:
    return envelope.wrap("v1", "ConfigMap", core.ConfigMap(data={"v": text}).SerializeToString())


def state_of(collection: Collection) -> dict[str, tuple[int, bytes]]:
    return {key: (entry.revision, entry.raw) for key in collection if (entry := collection.get(key))}


class Follower:
    """Rebuilds a collection from its history alone, as a client does from a watch."""

    def __init__(self, cache: WatchCache) -> None:
        self.collection = cache.collection(CONFIG_MAPS)
        self.list(cache)

    def list(self, cache: WatchCache) -> None:
        self.position = self.collection.history.end
        self.state = state_of(self.collection)
        self.revision = cache.revision

    def follow(self) -> None:
        for change in self.collection.history.since(self.position, 10_000):
            self.position += 1
            entry = change.event.entry
            assert entry is not None and change.event.revision >= self.revision
            self.revision = change.event.revision
            if change.event.type == "DELETED":
                assert change.previous is not None and entry.raw == change.previous.raw and entry.revision == change.event.revision
                del self.state[entry.key]
            else:
                assert (change.event.type == "ADDED") == (entry.key not in self.state)
                self.state[entry.key] = (entry.revision, entry.raw)


names = st.sampled_from([f"{namespace}/{name}" for namespace in "xy" for name in ("a", "b", "a-b", "ab")])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), names, st.text("01", min_size=1, max_size=2)),
        st.tuples(st.just("delete"), names, st.just("")),
        st.tuples(st.sampled_from(["deliver", "relist", "follow"]), st.just(""), st.just("")),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(steps)
def test_whatever_happens_cache_and_followers_equal_the_store(program: list[tuple[str, str, str]]) -> None:
    cache, revision = WatchCache(registry()), 5
    store: dict[str, KeyValue] = {}
    pending: list[Change] = []
    cache.load([], revision)
    follower = Follower(cache)
    for action, name, text in [*program, ("deliver", "", ""), ("follow", "", "")]:
        key = PREFIX + name
        if action == "put":
            revision += 1
            store[key] = KeyValue(key, value(text), revision)
            pending.append(Change(key, store[key].value, revision))
        elif action == "delete" and key in store:
            revision += 1
            del store[key]
            pending.append(Change(key, None, revision))
        elif action == "deliver" and pending:
            cache.apply(Batch(pending, revision))
            pending = []
        elif action == "relist":  # the watch was compacted: what is pending is never delivered, and the follower is told so
            cache.load([store[key] for key in sorted(store)], revision)
            pending = []
            with pytest.raises(Overrun):
                follower.follow()
            follower.list(cache)
        elif action == "follow":
            follower.follow()
    expected = {key: (item.revision, envelope.unwrap(item.value).raw) for key, item in store.items()}
    collection = cache.collection(CONFIG_MAPS)
    assert state_of(collection) == follower.state == expected
    assert [*collection] == sorted(expected) and cache.revision == revision
    assert [entry.key for entry in collection.listing(PREFIX + "x/")] == sorted(key for key in expected if "/x/" in key)
    assert collection.size_bytes == sum(len(raw) for _, raw in expected.values())


def filled(limits: Limits, count: int, now: list[float]) -> Collection:
    cache = WatchCache(registry(), limits, monotonic=lambda: now[0])
    cache.load([], 1)
    for number in range(count):
        cache.apply(Batch([Change(f"{PREFIX}x/a", value(f"{number:04}"), number + 2)], number + 2))
    return cache.collection(CONFIG_MAPS)


@pytest.mark.parametrize("limits", [Limits(count=10), Limits(max_bytes=10 * (CHANGE_BYTES + len(envelope.unwrap(value("0000")).raw)))])
def test_history_is_bounded_and_says_where_it_begins(limits: Limits) -> None:
    history = filled(limits, 3000, [0.0]).history
    assert history.floor == 3001 - 10
    assert len(history.since(history.position_after(history.floor), 100)) == 10
    with pytest.raises(Overrun):
        history.position_after(history.floor - 1)
    with pytest.raises(Overrun):
        history.since(history.end - 11, 1)


def test_what_is_taken_at_once_is_bounded_by_bytes() -> None:
    history = filled(Limits(), 20, [0.0]).history
    first = history.position_after(history.floor)
    size = CHANGE_BYTES + len(envelope.unwrap(value("0000")).raw)
    assert [len(history.since(first, 10, bytes_)) for bytes_ in (0, size - 1, size, 4 * size, 100 * size)] == [1, 1, 2, 5, 10]


def test_the_json_of_an_object_takes_as_much_memory_as_it_is_long() -> None:
    """Not what its encoder reserved."""
    obj = core.ConfigMap(metadata={"name": "a", "namespace": "x"}, data={"k": "v" * 100_000})
    entry = Entry(version_of(core.ConfigMap), f"{PREFIX}x/a", 7, obj.SerializeToString())
    assert entry.json
    entry.forget_derived()
    tracemalloc.start()
    try:
        text = entry.json
        assert tracemalloc.get_traced_memory()[0] < len(text) + 20_000
    finally:
        tracemalloc.stop()


def test_history_ages() -> None:
    now = [0.0]
    collection = filled(Limits(age_seconds=60), 5, now)
    now[0] = 61.0
    collection.remove(f"{PREFIX}x/a", 100, now[0])
    assert collection.history.floor == 6 and len(collection.history.since(collection.history.position_after(6), 9)) == 1


def test_of_old_changes_a_part_is_held() -> None:
    now = [0.0]
    history = filled(Limits(count=800, fresh_seconds=75.0), 600, now).history
    now[0] = 75.0
    history.trim(now[0])
    assert len(history.since(history.position_after(history.floor), 1000)) == 600
    now[0] = 76.0
    history.trim(now[0])
    assert len(history.since(history.position_after(history.floor), 1000)) == 100
    size = CHANGE_BYTES + len(envelope.unwrap(value("0000")).raw)
    history = filled(Limits(max_bytes=800 * size), 600, now).history
    now[0] += 76.0
    history.trim(now[0])
    assert len(history.since(history.position_after(history.floor), 1000)) == 100


def test_a_collection_that_is_served_no_more_holds_nothing_of_its_past() -> None:
    collection = filled(Limits(), 20, [0.0])
    floor = collection.history.floor
    collection.close()
    assert collection.history.since(collection.history.end, 9) == [] and collection.history.floor == floor
    with pytest.raises(Overrun):
        collection.history.since(collection.history.end - 1, 9)


def test_what_can_be_made_again_is_kept_while_it_is_new() -> None:
    now = [0.0]
    collection = filled(Limits(), 5, now)
    changes = collection.history.since(collection.history.position_after(1), 5)
    made = _decoded(changes)
    collection.history.trim(now[0] + WARM_SECONDS / 2)
    assert all(one is other for one, other in zip(_decoded(changes), made, strict=True))
    collection.history.trim(now[0] + WARM_SECONDS + 1.0)
    again = _decoded(changes)
    assert again == made and not any(one is other for one, other in zip(again, made, strict=True))
    # Made again for a present object: it is not dropped at every turn.
    collection.history.trim(now[0] + WARM_SECONDS + 2.0)
    assert all(one is other for one, other in zip(_decoded(changes), again, strict=True))


def _decoded(changes: Sequence[HistoryChange]) -> list[Any]:
    return [change.event.entry.shared_message for change in changes if change.event.entry is not None]


def test_a_store_that_went_backwards_ends_every_watch() -> None:
    cache = WatchCache(registry())
    cache.load([KeyValue(f"{PREFIX}x/a", value("1"), 50)], 50)
    follower = Follower(cache)
    cache.load([KeyValue(f"{PREFIX}x/b", value("1"), 3)], 4)
    assert [*cache.collection(CONFIG_MAPS)] == [f"{PREFIX}x/b"] and cache.revision == 4
    with pytest.raises(Overrun):
        follower.follow()


def test_listing_is_shared_until_its_namespace_changes() -> None:
    cache = WatchCache(registry())
    cache.load([KeyValue(f"{PREFIX}{key}", value("1"), 2) for key in ("x/a", "y/a")], 2)
    collection = cache.collection(CONFIG_MAPS)
    x, y, every = (collection.listing(PREFIX + part) for part in ("x/", "y/", ""))
    cache.apply(Batch([Change(f"{PREFIX}x/b", value("2"), 3)], 3))
    assert collection.listing(PREFIX + "y/") is y
    assert collection.listing(PREFIX + "x/") is not x and collection.listing(PREFIX) is not every
    assert len(collection.listing(PREFIX)) == 3


async def test_writers_wait_for_their_revision_only() -> None:
    cache = WatchCache(registry())
    cache.load([], 5)
    assert await cache.wait_for(5, 0)
    waiting = [asyncio.create_task(cache.wait_for(revision, 5)) for revision in (9, 7, 8)]
    await asyncio.sleep(0)
    cache.apply(Batch([Change("/registry/unknown/a", b"", 8)], 8))
    assert await waiting[1] and await waiting[2] and not waiting[0].done()
    assert not await cache.wait_for(10, 0.001)
    cache.apply(Batch([], 9))
    assert await waiting[0]


def test_a_value_that_cannot_be_read_is_left_out() -> None:
    cache = WatchCache(registry())
    cache.load([KeyValue(f"{PREFIX}x/a", b"junk", 2), KeyValue(f"{PREFIX}x/b", value("1"), 3)], 3)
    cache.apply(Batch([Change(f"{PREFIX}x/b", b"k8s\0\xff\xff", 4), Change(f"{PREFIX}x/c", value("1"), 5)], 5))
    assert [*cache.collection(CONFIG_MAPS)] == [f"{PREFIX}x/c"] and cache.revision == 5


def test_the_history_of_a_collection_that_rests_ages_too() -> None:
    times = [0.0]
    collection = filled(Limits(age_seconds=60.0), 20, times)
    assert len(collection.history.since(collection.history.position_after(collection.history.floor), 100)) == 20
    collection.history.trim(61.0)
    assert collection.history.since(collection.history.end, 100) == []
    with pytest.raises(Overrun):
        collection.history.position_after(collection.history.floor - 1)


def test_changes_of_small_objects_are_bounded_by_bytes() -> None:
    history = filled(Limits(count=1_000_000, max_bytes=100 * CHANGE_BYTES), 3000, [0.0]).history
    assert len(history.since(history.position_after(history.floor), 1_000_000)) <= 100


def test_what_is_read_again_is_the_entry_that_the_cache_has() -> None:
    """So that its JSON is made once, unless another value has its revision, as in a store that was restored."""
    cache, item = WatchCache(registry()), KeyValue(f"{PREFIX}x/a", value("1"), 2)
    cache.load([item], 2)
    assert cache.entry(KeyValue(item.key, value("1"), 2)) is cache.collection(CONFIG_MAPS).get(item.key)
    for other in (KeyValue(item.key, value("2"), 2), KeyValue(item.key, value("1"), 3), KeyValue(f"{PREFIX}x/b", value("1"), 2)):
        found = cache.entry(other)
        assert found is not None and (found.key, found.revision) == (other.key, other.revision)
        assert found.message == core.ConfigMap.FromString(envelope.with_resource_version(envelope.unwrap(other.value).raw, other.revision))


def test_a_resource_that_is_served_while_all_is_read_is_read_by_itself() -> None:
    late, others = registry_of(CONFIG_MAPS), version_of(core.Secret).resource
    cache = WatchCache(late)
    loading = Loading(cache)
    secret = KeyValue(f"{others.key_prefix}x/a", envelope.wrap("v1", "Secret", b""), 2)
    loading.add([KeyValue(f"{PREFIX}x/a", value("1"), 2), secret])
    late.add(others)
    cache.take(loading, 7)
    assert cache.is_opening(others) and cache.opened.get_nowait() is others and not cache.whole.is_set()
    assert (len(cache.collection(CONFIG_MAPS)), len(cache.collection(others))) == (1, 0)
    assert cache.fill(others, [secret], 7) and len(cache.collection(others)) == 1 and cache.whole.is_set()


def registry_of(*resources: Resource) -> Registry:
    found = Registry()
    for resource in resources:
        found.add(resource)
    return found


def test_nothing_is_kept_of_namespaces_that_have_no_objects() -> None:
    cache = WatchCache(registry())
    cache.load([KeyValue(f"{PREFIX}x/a", value("1"), 2)], 2)
    collection = cache.collection(CONFIG_MAPS)
    assert not any(len(collection.listing(f"{PREFIX}other-{number}/")) for number in range(100))
    assert len(collection.listing(PREFIX + "x/")) == len(collection.listing(PREFIX)) == len(collection._listings) - 1 == 1
    cache.apply(Batch([Change(f"{PREFIX}x/a", None, 3)], 3))
    assert not len(collection.listing(PREFIX + "x/")) and collection.listing(PREFIX) is collection.listing(PREFIX)
    assert [*collection._listings] == [PREFIX]
