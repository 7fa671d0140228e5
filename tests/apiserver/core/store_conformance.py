"""What every ``Store`` must do. Subclass it and give a ``store`` fixture: an empty store, or one whose keys may be anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import pytest

from services.apiserver.storage.store import Batch, Change, Compacted, FutureRevision, HistoryLost, KeyValue, Put, Store, Transaction

PREFIX = "/conformance/"
PATIENCE_SECONDS = 10


def key(name: str) -> str:
    return PREFIX + name


async def put(store: Store, name: str, value: bytes = b"") -> int:
    outcome = await store.commit(Transaction({}, [Put(key(name), value)]))
    assert outcome.succeeded
    return outcome.revision


async def delete(store: Store, name: str) -> int:
    return (await store.commit(Transaction({}, deletes=[key(name)]))).revision


async def changes(stream: AsyncIterator[Batch], count: int) -> list[Change]:
    """The next ``count`` changes; their revisions never go back, and each batch says the revision of its end."""
    found: list[Change] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(found) < count:
            batch = await anext(stream)
            assert all(change.revision <= batch.revision for change in batch.changes)
            found += batch.changes
    assert [change.revision for change in found] == sorted(change.revision for change in found)
    return found


def names(items: Sequence[KeyValue]) -> list[str]:
    return [item.key.removeprefix(PREFIX) for item in items]


class StoreConformance:
    async def test_a_value_is_found_with_the_revision_of_its_last_change(self, store: Store) -> None:
        assert await store.get(key("a")) is None
        first = await put(store, "a", b"1")
        second = await put(store, "a", b"2")
        await put(store, "b")
        assert second == first + 1
        assert await store.get(key("a")) == KeyValue(key("a"), b"2", second)

    async def test_a_transaction_is_one_revision_and_all_or_nothing(self, store: Store) -> None:
        old = await put(store, "gone")
        outcome = await store.commit(
            Transaction({key("gone"): old, key("a"): 0}, [Put(key("a"), b"a"), Put(key("b"), b"b")], [key("gone")])
        )
        assert outcome.succeeded and outcome.revision == old + 1
        assert (await store.range(PREFIX)).items == [KeyValue(key(name), name.encode(), outcome.revision) for name in "ab"]
        refused = await store.commit(Transaction({key("a"): outcome.revision, key("b"): 0}, [Put(key("c"), b"")], [key("a")]))
        assert not refused.succeeded and refused.revision == outcome.revision
        assert names((await store.range(PREFIX)).items) == ["a", "b"]

    async def test_a_refused_transaction_tells_what_its_guards_found(self, store: Store) -> None:
        revision = await put(store, "a", b"1")
        refused = await store.commit(Transaction({key("a"): revision - 1, key("b"): 7, key("c"): 0}, [Put(key("c"), b"")]))
        assert not refused.succeeded
        assert refused.current == {key("a"): KeyValue(key("a"), b"1", revision)}

    async def test_a_transaction_that_changes_nothing_is_no_revision(self, store: Store) -> None:
        revision = await put(store, "a")
        outcome = await store.commit(Transaction({key("a"): revision}, deletes=[key("b")]))
        assert (outcome.succeeded, outcome.revision) == (True, revision)
        assert await store.newest_revision() == revision

    async def test_the_newest_revision_is_that_of_the_last_write(self, store: Store) -> None:
        for name in "aab":
            revision = await put(store, name)
            assert await store.newest_revision() == revision
        assert await delete(store, "b") == revision + 1
        assert await store.newest_revision() == revision + 1

    async def test_a_range_is_in_order_of_keys_and_in_pages(self, store: Store) -> None:
        for name in ("c", "a", "b/2", "b/1", "d"):
            await put(store, name)
        revision = await store.newest_revision()
        whole = await store.range(PREFIX)
        assert (names(whole.items), whole.revision, whole.more, whole.count) == (["a", "b/1", "b/2", "c", "d"], revision, False, 5)
        assert names((await store.range(key("b/"))).items) == ["b/1", "b/2"]
        page = await store.range(PREFIX, limit=2)
        assert (names(page.items), page.more, page.count) == (["a", "b/1"], True, 5)
        page = await store.range(PREFIX, start=page.items[-1].key + "\0", limit=3)
        assert (names(page.items), page.more, page.count) == (["b/2", "c", "d"], False, 3)
        assert names((await store.range(PREFIX, start=key("c"))).items) == ["c", "d"]

    async def test_a_range_shows_an_old_revision(self, store: Store) -> None:
        await put(store, "a", b"1")
        await put(store, "gone")
        then = await put(store, "b", b"1")
        await put(store, "a", b"2")
        await delete(store, "gone")
        await put(store, "c")
        page = await store.range(PREFIX, revision=then, limit=2)
        assert [(item.key, item.value) for item in page.items] == [(key("a"), b"1"), (key("b"), b"1")]
        assert (page.more, page.count, page.revision) == (True, 3, await store.newest_revision())
        with pytest.raises(FutureRevision):
            await store.range(PREFIX, revision=await store.newest_revision() + 1)

    async def test_a_compacted_revision_is_gone_and_what_lives_stays(self, store: Store) -> None:
        first = await put(store, "a", b"1")
        await put(store, "gone")
        await put(store, "a", b"2")
        compacted = await delete(store, "gone")
        newest = await put(store, "a", b"3")
        await store.compact(compacted)
        with pytest.raises(Compacted):
            await store.range(PREFIX, revision=first)
        page = await store.range(PREFIX, revision=compacted)
        assert [(item.key, item.value) for item in page.items] == [(key("a"), b"2")]
        assert (await store.range(PREFIX)).items == [KeyValue(key("a"), b"3", newest)]
        with pytest.raises(Compacted):
            await store.compact(compacted)
        with pytest.raises(FutureRevision):
            await store.compact(newest + 1)

    async def test_a_watch_tells_changes_from_its_revision_on_in_order(self, store: Store) -> None:
        await put(store, "before")
        first = await put(store, "a", b"1")
        outcome = await store.commit(Transaction({}, [Put(key("b"), b"2"), Put("/elsewhere/c", b"")], [key("before")]))
        wanted = [Change(key("a"), b"1", first), Change(key("b"), b"2", outcome.revision), Change(key("before"), None, outcome.revision)]
        async with aclosing(store.watch(PREFIX, first)) as stream:  # type: ignore[type-var]
            assert await changes(stream, 3) == wanted
            last = await put(store, "b", b"3")
            assert await changes(stream, 1) == [Change(key("b"), b"3", last)]

    async def test_a_watch_of_everything_comes_to_every_revision(self, store: Store) -> None:
        start = await store.newest_revision()
        async with aclosing(store.watch("", start + 1)) as stream:  # type: ignore[type-var]
            waiting = asyncio.ensure_future(anext(stream))
            revision = await put(store, "a")
            async with asyncio.timeout(PATIENCE_SECONDS):
                reached = (await waiting).revision
                while reached < revision:
                    reached = (await anext(stream)).revision
            assert reached == revision

    async def test_a_watch_says_that_it_stands_before_anything_changes(self, store: Store) -> None:
        newest = await put(store, "a")
        async with aclosing(store.watch("", newest + 1)) as stream, asyncio.timeout(PATIENCE_SECONDS):  # type: ignore[type-var]
            assert await anext(stream) == Batch([], newest)

    async def test_a_watch_from_a_compacted_revision_is_refused(self, store: Store) -> None:
        first = await put(store, "a", b"1")
        compacted = await put(store, "a", b"2")
        last = await put(store, "a", b"3")
        await store.compact(compacted)
        with pytest.raises(Compacted):
            await changes(store.watch(PREFIX, first), 1)
        async with aclosing(store.watch(PREFIX, compacted)) as stream:  # type: ignore[type-var]
            assert await changes(stream, 2) == [Change(key("a"), b"2", compacted), Change(key("a"), b"3", last)]

    async def test_a_watch_beyond_the_next_revision_is_of_another_store(self, store: Store) -> None:
        newest = await put(store, "a")
        with pytest.raises(HistoryLost):
            await anext(store.watch(PREFIX, newest + 2))

    async def test_a_value_that_ends_by_itself_is_there_at_first(self, store: Store) -> None:
        outcome = await store.commit(Transaction({}, [Put(key("a"), b"1", ttl_seconds=60)]))
        assert await store.get(key("a")) == KeyValue(key("a"), b"1", outcome.revision)
