"""What every cluster has of roles and bindings, and what becomes of them when a server starts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from knarr.api.flowcontrol.v1 import flowcontrol_pb2 as flowcontrol
from knarr.api.rbac.v1 import rbac_pb2 as rbac
from knarr.client.client import Client
from knarr.machinery.catalog import version_of
from knarr.objects.conditions import is_true
from services.apiserver.component import ApiServer
from services.apiserver.fairness.suggested import schemas
from services.apiserver.fairness.upkeep import DANGLING
from services.apiserver.in_memory import ADMIN, ApiInMemory
from services.apiserver.rbac.bootstrap import reconcile_roles
from services.apiserver.rbac.defaults import AUTOUPDATE, bindings, defaults, roles
from services.apiserver.settings import ApiServerSettings
from services.apiserver.storage.memory import MemoryStore
from services.apiserver.strategies import strategy_for
from tests.support.virtual_time import VirtualClock, virtual_time

SETTINGS = ApiServerSettings(advertise_address="192.0.2.1", repair_seconds=0, compaction_seconds=0)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    api = ApiInMemory()
    api.seed(*defaults())
    async with api:
        yield api.client()


def no_kubelet(*where: str) -> Any:
    raise AssertionError(where)


@virtual_time
async def test_they_are_there_once_a_server_is_ready() -> None:
    server = ApiServer(SETTINGS, no_kubelet, store=MemoryStore(), clock=VirtualClock())
    task = asyncio.create_task(server.run())
    await server.wait_ready()
    for wanted in defaults():
        found = await server.client(ADMIN).get(type(wanted), wanted.metadata.name, wanted.metadata.namespace)
        assert found.metadata.labels["kubernetes.io/bootstrapping"] == "rbac-defaults"
    # Who is in none of these is in that for the rest, and refused where a second one asks.
    page = await server.client(ADMIN).list(flowcontrol.FlowSchema)
    assert {schema.metadata.name for schema in page.items} == {schema.metadata.name for schema in schemas()}
    assert not any(is_true(schema.status, DANGLING) for schema in page.items)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def test_each_name_is_there_once_and_each_binding_has_its_role() -> None:
    found = [(type(obj).__name__, obj.metadata.namespace, obj.metadata.name) for obj in defaults()]
    assert len(found) == len(set(found))
    known = {(role.metadata.namespace, role.metadata.name) for role in roles()}
    for binding in bindings():
        place = "" if binding.role_ref.kind == "ClusterRole" else binding.metadata.namespace
        assert (place, binding.role_ref.name) in known


@pytest.mark.parametrize("obj", tuple(defaults()), ids=lambda obj: f"{type(obj).__name__}/{obj.metadata.name}")
def test_a_server_would_take_each_of_them(obj: Any) -> None:
    assert not strategy_for(version_of(type(obj))).validate(obj)


async def test_nothing_is_written_where_nothing_is_missing(client: Client) -> None:
    before = [await _read(client, wanted) for wanted in defaults()]
    await reconcile_roles(client)
    assert before == [await _read(client, wanted) for wanted in defaults()]


async def test_a_rule_that_was_taken_away_is_added_and_one_that_was_added_stays(client: Client) -> None:
    role = await client.get(rbac.ClusterRole, "system:kube-dns")
    wanted = list(role.rules)
    del role.rules[:]
    role.rules.append(wanted[0])
    role.rules.add(verbs=["get"], api_groups=["example.com"], resources=["zones"])
    await client.update(role)
    await reconcile_roles(client)
    after = list((await client.get(rbac.ClusterRole, "system:kube-dns")).rules)
    assert after[:2] == list(role.rules) and after[2:] == wanted[1:]


async def test_what_somebody_else_looks_after_stays_as_it_is(client: Client) -> None:
    role = await client.get(rbac.ClusterRole, "system:kube-dns")
    role.metadata.annotations[AUTOUPDATE] = "false"
    del role.rules[:]
    await client.update(role)
    binding = await client.get(rbac.ClusterRoleBinding, "system:discovery")
    binding.metadata.annotations[AUTOUPDATE] = "false"
    del binding.subjects[:]
    await client.update(binding)
    await reconcile_roles(client)
    assert not (await client.get(rbac.ClusterRole, "system:kube-dns")).rules
    assert not (await client.get(rbac.ClusterRoleBinding, "system:discovery")).subjects


async def test_a_subject_that_is_missing_is_added(client: Client) -> None:
    binding = await client.get(rbac.ClusterRoleBinding, "system:kube-scheduler")
    binding.subjects[0].name = "somebody"
    await client.update(binding)
    await reconcile_roles(client)
    names = [subject.name for subject in (await client.get(rbac.ClusterRoleBinding, "system:kube-scheduler")).subjects]
    assert names == ["somebody", "system:kube-scheduler"]


async def test_a_binding_of_another_role_is_made_anew(client: Client) -> None:
    await client.delete(rbac.ClusterRoleBinding, "system:kube-scheduler")
    other = rbac.ClusterRoleBinding()
    other.metadata.name = "system:kube-scheduler"
    other.role_ref.kind, other.role_ref.name, other.role_ref.api_group = "ClusterRole", "cluster-admin", "rbac.authorization.k8s.io"
    await client.create(other)
    await reconcile_roles(client)
    found = await client.get(rbac.ClusterRoleBinding, "system:kube-scheduler")
    assert found.role_ref.name == "system:kube-scheduler" and found.subjects


async def test_the_roles_that_gather_others_keep_what_the_controller_wrote(client: Client) -> None:
    role = await client.get(rbac.ClusterRole, "view")
    role.rules.add(verbs=["get"], api_groups=["example.com"], resources=["zones"])
    role.aggregation_rule.cluster_role_selectors[0].match_labels["other"] = "true"
    await client.update(role)
    await reconcile_roles(client)
    after = await client.get(rbac.ClusterRole, "view")
    assert len(after.rules) == 1 and len(after.aggregation_rule.cluster_role_selectors) == 2


async def _read(client: Client, wanted: Any) -> Any:
    return await client.get(type(wanted), wanted.metadata.name, wanted.metadata.namespace)
