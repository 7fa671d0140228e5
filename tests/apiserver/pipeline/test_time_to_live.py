"""Events are kept as long as the API server is told, by whichever group they come."""

from __future__ import annotations

import asyncio

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.events.v1 import events_pb2 as events
from knarr.api.meta.v1 import meta_pb2 as meta
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.settings import ApiServerSettings
from tests.support.virtual_time import VirtualClock, virtual_time


@virtual_time
async def test_events_of_both_groups_go_when_their_time_is_over() -> None:
    async with ApiInMemory(VirtualClock(), settings=ApiServerSettings(event_ttl_seconds=60)) as api:
        client = api.client()
        old = core.Event(metadata=meta.ObjectMeta(name="old", namespace="default"), type="Normal", reason="Tested")
        old.involved_object.kind, old.involved_object.namespace = "Pod", "default"
        await client.create(old)
        new = events.Event(metadata=meta.ObjectMeta(name="new", namespace="default"), type="Normal", reason="Tested", action="Testing")
        new.regarding.kind, new.regarding.namespace = "Pod", "default"
        new.reporting_controller, new.reporting_instance = "knarr.example/test", "one"
        new.event_time.seconds = 1
        await client.create(new)
        await asyncio.sleep(59)
        assert {event.metadata.name for event in (await client.list(core.Event)).items} == {"old", "new"}
        await asyncio.sleep(2)
        assert (await client.list(core.Event)).items == []
