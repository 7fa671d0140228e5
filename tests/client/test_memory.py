"""The fake API server: the conformance suite, and what only a fake can do."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.memory import MemoryApi, MemoryClient
from knarr.machinery.errors import StatusError, status_error
from tests.client.conformance import ClientConformance, refused
from tests.client.objects import config_map, pod


@pytest.fixture
def api() -> MemoryApi:
    return MemoryApi()


@pytest.fixture
def client(api: MemoryApi) -> MemoryClient:
    return MemoryClient(api)


class TestConformance(ClientConformance):
    pass


async def test_watch_from_a_compacted_revision_expires(api: MemoryApi, client: MemoryClient) -> None:
    start = (await client.list(core.ConfigMap)).resource_version
    await client.create(config_map("a"))
    api.compact()
    async with aclosing(client.watch(core.ConfigMap, resource_version=start)) as stream:  # type: ignore[type-var]
        await refused("Expired", anext(stream))


async def test_open_watch_breaks_on_demand(api: MemoryApi, client: MemoryClient) -> None:
    async with aclosing(client.watch(core.ConfigMap, resource_version="1")) as stream:  # type: ignore[type-var]
        waiting = asyncio.ensure_future(anext(stream))
        for _ in range(5):
            await asyncio.sleep(0)
        api.break_watches()
        await refused("ServiceUnavailable", waiting)


async def test_faults_strike_the_named_calls(api: MemoryApi, client: MemoryClient) -> None:
    lost = status_error("ServiceUnavailable", "no reply")
    api.fail_next(lost, verb="create", message_type=core.ConfigMap)
    await client.create(pod())
    await refused("ServiceUnavailable", client.create(config_map("a")))
    assert api.all(core.ConfigMap) == []
    api.fail_next(lost, verb="create", after=True)
    await refused("ServiceUnavailable", client.create(config_map("a")))
    assert [obj.metadata.name for obj in api.all(core.ConfigMap)] == ["a"]
    await client.create(config_map("b"))


async def test_unknown_fields_in_selectors_are_refused(client: MemoryClient) -> None:
    with pytest.raises(StatusError, match=r"field label not supported: spec\.nope"):
        await client.list(core.Pod, field_selector="spec.nope=1")


async def test_cluster_scoped_and_namespaced_kinds_are_told_apart(client: MemoryClient) -> None:
    node = core.Node()
    node.metadata.name, node.metadata.namespace = "n", "default"
    await refused("BadRequest", client.create(node))
    await refused("BadRequest", client.create(config_map("a", namespace="")))
