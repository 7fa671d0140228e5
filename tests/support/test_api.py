"""The faults that tests inject strike whom they are meant for."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Expired, ServiceUnavailable, status_error
from knarr.service.authentication import User
from tests.client.objects import config_map, pod
from tests.support.api import FaultyApi, FaultyClient, Write
from tests.support.virtual_time import virtual_time


@pytest.fixture
def api() -> FaultyApi:
    return FaultyApi()


@pytest.fixture
def client(api: FaultyApi) -> FaultyClient:
    return api.client()


@virtual_time
async def test_watches_and_pages_from_before_a_compaction_expire(api: FaultyApi, client: FaultyClient) -> None:
    start = (await client.list(core.ConfigMap)).resource_version
    for name in "abc":
        await client.create(config_map(name))
    page = await client.list(core.ConfigMap, limit=2)
    api.compact()
    with pytest.raises(Expired):
        await anext(client.watch(core.ConfigMap, resource_version=start))
    with pytest.raises(Expired):
        await client.list(core.ConfigMap, limit=2, continue_token=page.continue_token)
    assert len((await client.list(core.ConfigMap)).items) == 3


@virtual_time
async def test_an_open_watch_breaks_on_demand_and_a_later_one_does_not(api: FaultyApi, client: FaultyClient) -> None:
    start = (await client.list(core.ConfigMap)).resource_version
    waiting = asyncio.ensure_future(anext(client.watch(core.ConfigMap, resource_version=start)))
    await asyncio.sleep(1)
    api.break_watches()
    with pytest.raises(ServiceUnavailable):
        await waiting
    async with aclosing(client.watch(core.ConfigMap, resource_version=start)) as stream:  # type: ignore[type-var]
        await client.create(config_map("a"))
        assert [event.object.metadata.name for event in await anext(stream)] == ["a"]


@virtual_time
async def test_faults_strike_the_named_calls(api: FaultyApi, client: FaultyClient) -> None:
    lost = status_error("ServiceUnavailable", "no reply")
    api.fail_next(lost, verb="create", message_type=core.ConfigMap)
    await client.create(pod())
    with pytest.raises(ServiceUnavailable):
        await client.create(config_map("a"))
    assert api.all(core.ConfigMap) == []
    api.fail_next(lost, verb="create", after=True)
    with pytest.raises(ServiceUnavailable):
        await client.create(config_map("a"))
    assert [obj.metadata.name for obj in api.all(core.ConfigMap)] == ["a"]
    api.fail_next(lost, times=5)
    api.heal()
    await client.create(config_map("b"))


@virtual_time
async def test_writes_are_told_as_they_were_asked_for(api: FaultyApi, client: FaultyClient) -> None:
    asked = config_map("a", key="value")
    created = await api.client(User("somebody", groups=("system:masters",))).create(asked)
    await client.patch(core.ConfigMap, "a", "default", patch={"data": {"key": "other"}})
    await client.delete(core.ConfigMap, "a", "default")
    key = created.metadata.namespace, created.metadata.name
    assert api.writes == [
        Write("create", core.ConfigMap, key, "", asked),  # type: ignore[arg-type]
        Write("patch", core.ConfigMap, key, "", None),  # type: ignore[arg-type]
        Write("delete", core.ConfigMap, key, "", None),  # type: ignore[arg-type]
    ]


@virtual_time
async def test_latency_is_the_time_before_a_call_acts(api: FaultyApi, client: FaultyClient) -> None:
    api.latency_seconds = 2.0
    await asyncio.gather(client.create(config_map("a")), client.create(config_map("b")))
    assert asyncio.get_running_loop().time() == 2.0
