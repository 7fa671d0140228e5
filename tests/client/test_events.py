from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.events.v1 import events_pb2 as new_events
from knarr.client import events
from knarr.client.event_correlator import BURST, COMBINED_PREFIX, Correlator, Stored, _Bucket, _Similar
from knarr.client.events import EventRecorder
from knarr.machinery.errors import status_error
from tests.client.objects import pod
from tests.support.api import FaultyApi
from tests.support.virtual_time import START, VirtualClock, virtual_time


@asynccontextmanager
async def running(recorder: EventRecorder) -> AsyncIterator[None]:
    task = asyncio.ensure_future(recorder.run())
    try:
        yield
    finally:
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def setup() -> tuple[FaultyApi, EventRecorder, core.Pod]:
    api = FaultyApi(VirtualClock())
    about = pod("web")
    about.metadata.uid = "u1"
    return api, EventRecorder(api.client(), "scheduler", "host-1", clock=VirtualClock()), about


@virtual_time
async def test_an_event_names_its_object_and_source() -> None:
    api, recorder, about = setup()
    async with running(recorder):
        recorder.event(about, "Warning", "FailedScheduling", "no nodes", field_path="spec.containers{main}")
        await asyncio.sleep(1)
    [event] = api.all(core.Event, "default")
    assert event.metadata.name.startswith("web.")
    named = event.involved_object
    assert (named.api_version, named.kind, named.namespace, named.name, named.uid) == (
        "v1",
        "Pod",
        "default",
        "web",
        "u1",
    )
    assert named.field_path == "spec.containers{main}"
    assert (event.type, event.reason, event.message, event.count) == ("Warning", "FailedScheduling", "no nodes", 1)
    assert (event.source.component, event.source.host) == ("scheduler", "host-1")
    assert event.first_timestamp.seconds == event.last_timestamp.seconds == int(START.timestamp())


@virtual_time
async def test_the_same_event_again_is_counted() -> None:
    api, recorder, about = setup()
    async with running(recorder):
        for _ in range(3):
            recorder.event(about, "Warning", "BackOff", "again")
            await asyncio.sleep(10)
        recorder.event(about, "Warning", "BackOff", "differently")
        await asyncio.sleep(1)
    found = {event.message: event for event in api.all(core.Event)}
    assert {message: event.count for message, event in found.items()} == {"again": 3, "differently": 1}
    again = found["again"]
    assert again.last_timestamp.seconds - again.first_timestamp.seconds == 20


@virtual_time
async def test_a_count_and_a_series_are_seen_in_both_groups() -> None:
    """As client-go's recorder of core/v1 counts, and as that of events.k8s.io/v1 does: each in its own field, whichever group one reads."""
    api, recorder, about = setup()
    client = api.client()
    async with running(recorder):
        for _ in range(3):
            recorder.event(about, "Warning", "BackOff", "again")
            await asyncio.sleep(1)
    [counted] = (await client.list(new_events.Event, "default")).items
    assert (counted.deprecated_count, counted.HasField("series"), counted.regarding.name) == (3, False, "web")
    assert counted.deprecated_last_timestamp.seconds - counted.deprecated_first_timestamp.seconds == 2

    made = new_events.Event(reason="Scheduled", action="Binding", note="once", type="Normal", reporting_controller="example.com/c")
    made.metadata.name, made.metadata.namespace, made.reporting_instance = "series", "default", "c-1"
    made.event_time.seconds = int(START.timestamp())
    made.regarding.kind, made.regarding.namespace, made.regarding.name = "Pod", "default", "web"
    await client.create(made)
    patch = {"series": {"count": 4, "lastObservedTime": "2026-01-01T00:00:09.000000Z"}}
    await client.patch(new_events.Event, "series", "default", patch=patch)
    found = await client.get(core.Event, "series", "default")
    assert (found.series.count, found.count, found.reporting_component) == (4, 0, "example.com/c")
    # A series that is written in the one group is read in the other.
    found.series.count = 5
    await client.update(found)
    assert (await client.get(new_events.Event, "series", "default")).series.count == 5


@virtual_time
async def test_an_expired_event_is_created_anew() -> None:
    api, recorder, about = setup()
    async with running(recorder):
        recorder.event(about, "Normal", "Pulled", "image")
        await asyncio.sleep(1)
        [event] = api.all(core.Event)
        await api.client().delete(core.Event, event.metadata.name, "default")
        recorder.event(about, "Normal", "Pulled", "image")
        await asyncio.sleep(1)
    assert [event.count for event in api.all(core.Event)] == [2]


@virtual_time
async def test_similar_events_are_combined() -> None:
    api, recorder, about = setup()
    async with running(recorder):
        for number in range(15):
            recorder.event(about, "Warning", "Failed", f"attempt {number}")
            await asyncio.sleep(1)
    combined = [event for event in api.all(core.Event) if event.message.startswith(COMBINED_PREFIX)]
    assert len(api.all(core.Event)) == 10 and len(combined) == 1
    assert combined[0].count == 6 and combined[0].message == COMBINED_PREFIX + "attempt 14"


@virtual_time
async def test_an_object_that_causes_too_many_is_muted() -> None:
    api, recorder, about = setup()
    async with running(recorder):
        for _ in range(BURST + 5):
            recorder.event(about, "Normal", "Sync", "same")
        other = pod("quiet")
        recorder.event(other, "Normal", "Sync", "same")
        await asyncio.sleep(1)
        assert recorder.dropped == 5
        assert sorted(event.count for event in api.all(core.Event)) == [1, BURST]
        await asyncio.sleep(601)
        recorder.event(about, "Normal", "Sync", "same")
        await asyncio.sleep(1)
        assert recorder.dropped == 5


@virtual_time
async def test_a_full_queue_drops_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "QUEUE_LIMIT", 2)
    _, recorder, about = setup()
    for _ in range(5):
        recorder.event(about, "Normal", "Sync", "same")
    assert recorder.dropped == 3


@virtual_time
async def test_an_unreachable_server_is_tried_again_and_a_refusal_is_not() -> None:
    api, recorder, about = setup()
    async with running(recorder):
        api.fail_next(status_error("ServiceUnavailable", "down"), verb="create", times=3)
        recorder.event(about, "Normal", "One", "first")
        await asyncio.sleep(60)
        api.fail_next(status_error("Forbidden", "namespace is terminating"), verb="create")
        recorder.event(about, "Normal", "Two", "second")
        await asyncio.sleep(60)
    assert [event.reason for event in api.all(core.Event)] == ["One"]
    assert recorder.dropped == 1


@virtual_time
async def test_recording_never_raises() -> None:
    _, recorder, _ = setup()
    recorder.event(core.Container(), "Normal", "What", "not a kind")
    assert recorder.dropped == 1


def test_of_pods_that_are_gone_no_more_than_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("knarr.client.event_correlator.REMEMBERED", 16)

    def remembered() -> list[int]:
        return [sum(isinstance(found, kind) for found in gc.get_objects()) for kind in (_Bucket, _Similar, Stored)]

    gc.collect()
    before, correlator = remembered(), Correlator()
    for number in range(50):
        event = core.Event(reason="Started", message=f"pod {number}")
        event.involved_object.uid = str(number)
        assert correlator.observe(event, now=1.0) is not None
    assert [now - then for now, then in zip(remembered(), before, strict=True)] == [16, 16, 16]
