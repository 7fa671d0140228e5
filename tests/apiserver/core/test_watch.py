"""Watch semantics: where it begins, selectors, bookmarks, the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import StatusError
from services.apiserver.api import Event, Ref
from services.apiserver.entries import Block
from services.apiserver.entry import Entry
from services.apiserver.pipeline import watch as watching
from services.apiserver.pipeline.selection import Selection
from tests.support.caller import Caller

REF = Ref(version_of(core.ConfigMap), "default")


async def create(api: Caller, name: str, namespace: str = "default", **labels: str) -> Any:
    obj = core.ConfigMap()
    obj.metadata.name = name
    obj.metadata.labels.update(labels)
    return (await api.create(Ref(REF.version, namespace), obj, meta.CreateOptions())).message


def shown(event: Event) -> str:
    return f"{event.type} {event.entry.name}" if event.entry else event.type + (" end" if event.initial_events_end else "")


async def take(stream: AsyncIterator[Sequence[Event]], count: int) -> list[str]:
    found: list[str] = []
    async with asyncio.timeout(5):
        while len(found) < count:
            found += [shown(event) for event in await anext(stream)]
    return found


@pytest.mark.parametrize("revision", ["", "0"])
async def test_without_a_revision_the_present_comes_first(api: Caller, revision: str) -> None:
    await create(api, "b")
    await create(api, "a")
    async with aclosing(api.watch(REF, meta.ListOptions(resource_version=revision))) as stream:  # type: ignore[type-var]
        assert await take(stream, 2) == ["ADDED a", "ADDED b"]
        await create(api, "c")
        assert await take(stream, 1) == ["ADDED c"]


async def test_the_present_is_made_a_batch_at_a_time(api: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was when the watch began, whenever it is taken."""
    monkeypatch.setattr(watching, "BLOCK", 2)
    for name in "abcde":
        await create(api, name, app=name)
    looked: list[str] = []
    among = Selection.among

    def look(selection: Selection, entries: Iterable[Entry]) -> Block:
        found = [*entries]
        looked.extend(entry.name for entry in found)
        return among(selection, found)

    monkeypatch.setattr(Selection, "among", look)
    async with aclosing(api.watch(REF, meta.ListOptions(label_selector="app notin (b)"))) as stream:  # type: ignore[type-var]
        assert [shown(event) for event in await anext(stream)] == ["ADDED a"]
        assert looked == ["a", "b"]
        await create(api, "dd", app="x")
        assert [shown(event) for event in await anext(stream)] == ["ADDED c", "ADDED d"]
        assert await take(stream, 2) == ["ADDED e", "ADDED dd"]


async def test_initial_events_end_with_a_bookmark(api: Caller) -> None:
    await create(api, "a")
    options = meta.ListOptions(send_initial_events=True, resource_version_match="NotOlderThan", allow_watch_bookmarks=True)
    async with aclosing(api.watch(REF, options)) as stream:  # type: ignore[type-var]
        first, second = await anext(stream), await anext(stream)
        assert [shown(event) for event in (*first, *second)] == ["ADDED a", "BOOKMARK end"]
        assert second[0].revision >= first[0].revision
        await create(api, "b")
        assert await take(stream, 1) == ["ADDED b"]


async def changed(api: Caller, ref: Ref, obj: Any) -> Any:
    return (await api.update(ref, obj, meta.UpdateOptions())).message


async def test_only_a_selection_sees_objects_enter_and_leave(api: Caller) -> None:
    start = str(api.backend.cache.revision)
    async with aclosing(api.watch(REF, meta.ListOptions(resource_version=start, label_selector="in=yes"))) as stream:  # type: ignore[type-var]
        obj = await create(api, "a")
        await create(api, "other", **{"in": "no"})
        obj.metadata.labels["in"] = "yes"
        one = Ref(REF.version, "default", "a")
        obj = await changed(api, one, obj)
        obj.data["k"] = "v"
        obj = await changed(api, one, obj)
        obj.metadata.labels["in"] = "no"
        left: Any = (await api.update(one, obj, meta.UpdateOptions())).entry
        events: list[Event] = []
        async with asyncio.timeout(5):
            while len(events) < 3:
                events += await anext(stream)
    assert [shown(event) for event in events] == ["ADDED a", "MODIFIED a", "DELETED a"]
    gone: Any = events[2].entry
    assert gone.revision == left.revision and gone.message.metadata.labels["in"] == "yes"


async def test_one_name_and_one_namespace(api: Caller) -> None:
    start = str(api.backend.cache.revision)
    options = meta.ListOptions(resource_version=start, field_selector="metadata.name=b")
    everywhere = Ref(REF.version)
    async with (
        aclosing(api.watch(REF, options)) as named,  # type: ignore[type-var]
        aclosing(api.watch(everywhere, meta.ListOptions(resource_version=start))) as every,  # type: ignore[type-var]
    ):
        namespace = core.Namespace()
        namespace.metadata.name = "default2"
        await api.create(Ref(version_of(core.Namespace)), namespace, meta.CreateOptions())
        await create(api, "b", "default2")
        await create(api, "a")
        await create(api, "b")
        assert await take(named, 1) == ["ADDED b"]
        assert await take(every, 3) == ["ADDED b", "ADDED a", "ADDED b"]


async def test_a_watch_ends_after_its_time_with_a_bookmark(api: Caller) -> None:
    options = meta.ListOptions(resource_version=str(api.backend.cache.revision), timeout_seconds=1, allow_watch_bookmarks=True)
    async with asyncio.timeout(5):
        batches = [batch async for batch in api.watch(REF, options)]
    assert [[shown(event) for event in batch] for batch in batches] == [["BOOKMARK"]]


async def test_a_time_of_zero_is_none(api: Caller) -> None:
    batches = api.watch(REF, meta.ListOptions(resource_version=str(api.backend.cache.revision), timeout_seconds=0))
    try:
        first = asyncio.ensure_future(anext(batches))
        await create(api, "a")
        async with asyncio.timeout(5):
            assert [shown(event) for event in await first] == ["ADDED a"]
    finally:
        await batches.aclose()  # type: ignore[attr-defined]


async def test_bookmarks_come_now_and_then(api: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "BOOKMARK_SECONDS", 0.02)
    options = meta.ListOptions(resource_version=str(api.backend.cache.revision), allow_watch_bookmarks=True)
    async with aclosing(api.watch(REF, options)) as stream:  # type: ignore[type-var]
        assert await take(stream, 3) == ["BOOKMARK"] * 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (meta.ListOptions(field_selector="spec.nope=1"), "field label not supported: spec.nope"),
        (meta.ListOptions(send_initial_events=True), "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
        (meta.ListOptions(resource_version="x"), "Invalid value"),
        (meta.ListOptions(resource_version_match="Exact", resource_version="1"), "forbidden for watch"),
    ],
)
async def test_bad_options_are_refused_before_the_stream_begins(api: Caller, options: meta.ListOptions, words: str) -> None:
    with pytest.raises(StatusError, match=words):
        await anext(api.watch(REF, options))


async def test_a_hundred_watchers_hear_of_a_write(api: Caller) -> None:
    start = meta.ListOptions(resource_version=str(api.backend.cache.revision))
    tasks = [asyncio.create_task(take(api.watch(REF, start), 1)) for _ in range(100)]
    await asyncio.sleep(0)
    await create(api, "a")
    async with asyncio.timeout(5):
        assert await asyncio.gather(*tasks) == [["ADDED a"]] * 100
