"""The API server in memory: both ways in pass the conformance suite of clients, and what is seeded is as a server would have it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

import pytest

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import ADDED, Client
from knarr.machinery.errors import Expired, Forbidden, Invalid, NotFound, forbidden
from knarr.machinery.resources import Resource
from services.apiserver.admission.attributes import CREATE, Attributes
from services.apiserver.admission.catalog import PLUGINS
from services.apiserver.authorization import refusal
from services.apiserver.backend import Backend
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.request import Request
from tests.client.conformance import ClientConformance, take
from tests.client.objects import config_map, pod
from tests.support.rpc import rpc_client
from tests.support.virtual_time import START, VirtualClock, virtual_time


@pytest.fixture
async def api() -> AsyncIterator[ApiInMemory]:
    async with ApiInMemory() as made:
        yield made


class TestLocalClient(ClientConformance):
    @pytest.fixture
    def client(self, api: ApiInMemory) -> Client:
        return api.client()


class TestRpcClient(ClientConformance):
    @pytest.fixture
    async def client(self, api: ApiInMemory, tmp_path: Path) -> AsyncIterator[Client]:
        async with rpc_client(api.server, tmp_path) as client:
            yield client


class Quota:
    """Admits no third ConfigMap."""

    name: ClassVar[str] = "Quota"

    def __init__(self, backend: Backend) -> None:
        self._count = 0

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == CREATE and resource.plural == "configmaps"

    async def validate(self, attributes: Attributes) -> None:
        self._count += 1
        if self._count > 2:
            raise forbidden("configmaps", attributes.name, "exceeded quota")


class Readers:
    """Everybody may read, nobody may write."""

    def authorize(self, request: Request) -> None:
        if request.verb not in ("get", "list", "watch"):
            raise refusal(request)


@virtual_time
async def test_it_may_admit_and_authorize_otherwise() -> None:
    async with ApiInMemory(VirtualClock(), plugins=[*PLUGINS, Quota]) as api:
        for name in "ab":
            await api.client().create(config_map(name))
        with pytest.raises(Forbidden, match="exceeded quota"):
            await api.client().create(config_map("c"))
    async with ApiInMemory(VirtualClock(), authorizer=Readers()) as api:
        assert not (await api.client().list(core.ConfigMap)).items
        with pytest.raises(Forbidden, match='User "admin" cannot create resource "configmaps" in API group ""'):
            await api.client().create(config_map("a"))


@virtual_time
async def test_what_is_seeded_is_there_with_defaults_and_status() -> None:
    api = ApiInMemory(VirtualClock())
    seeded = pod("p", namespace="elsewhere", node="node-1")
    seeded.status.phase = "Running"
    api.seed(seeded)
    async with api:
        found = await api.client().get(core.Pod, "p", "elsewhere")
        assert (found.status.phase, found.spec.restart_policy, found.metadata.creation_timestamp.seconds) == (
            "Running",
            "Always",
            START.timestamp(),
        )
        assert api.all(core.Pod) == [found] and not seeded.metadata.uid
        assert [namespace.metadata.name for namespace in api.all(core.Namespace)] == [
            "default", "elsewhere", "kube-node-lease", "kube-public", "kube-system",
        ]  # fmt: skip


@virtual_time
async def test_a_seed_while_it_runs_is_a_change_that_watchers_see() -> None:
    async with ApiInMemory() as api:
        start = (await api.client().list(core.ConfigMap)).resource_version
        api.seed(config_map("a"))
        await api.settle()
        stream = api.client().watch(core.ConfigMap, resource_version=start)
        assert await take(stream, 1) == [(ADDED, "a")]
        await stream.aclose()  # type: ignore[attr-defined]


def test_what_no_server_would_have_stored_is_not_seeded() -> None:
    with pytest.raises(Invalid, match=r"spec\.template\.spec\.containers: Required value"):
        deployment = apps.Deployment()
        deployment.metadata.name, deployment.metadata.namespace = "web", "default"
        deployment.spec.selector.match_labels["app"] = deployment.spec.template.metadata.labels["app"] = "web"
        ApiInMemory().seed(deployment)


@virtual_time
async def test_rules_of_the_cluster_hold() -> None:
    async with ApiInMemory() as api:
        with pytest.raises(NotFound, match='namespaces "gone" not found'):
            await api.client().create(config_map("a", namespace="gone"))
        bad = pod("p")
        bad.spec.containers[0].image = ""
        with pytest.raises(Invalid):
            await api.client().create(bad)


@virtual_time
async def test_the_same_seed_makes_the_same_names_uids_addresses_and_ports() -> None:
    made = []
    for seed in (1, 1, 2):
        template = core.Service()
        template.metadata.generate_name, template.metadata.namespace = "some-", "default"
        template.spec.type = "NodePort"
        template.spec.ports.add(port=80)
        async with ApiInMemory(VirtualClock(), seed) as api:
            made.append(await api.client().create(template))
    first, again, other = made
    assert first == again
    assert first.metadata.name != other.metadata.name and first.metadata.uid != other.metadata.uid
    assert first.spec.cluster_ip != other.spec.cluster_ip and first.spec.ports[0].node_port != other.spec.ports[0].node_port


@virtual_time
async def test_events_end_after_their_time_and_watches_grow_old_with_the_loop() -> None:
    async with ApiInMemory(VirtualClock()) as api:
        client = api.client()
        start = (await client.list(core.ConfigMap)).resource_version
        event = core.Event()
        event.metadata.name, event.metadata.namespace = "e", "default"
        event.involved_object.kind, event.involved_object.namespace = "Pod", "default"
        await client.create(event)
        await client.create(config_map("a"))
        await asyncio.sleep(3599)
        assert len(api.all(core.Event)) == 1
        await client.create(config_map("b"))
        with pytest.raises(Expired):
            await take(client.watch(core.ConfigMap, resource_version=start), 1)
        await asyncio.sleep(2)
        assert api.all(core.Event) == [] and (await client.list(core.Event)).items == []
