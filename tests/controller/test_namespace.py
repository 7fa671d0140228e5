"""Namespace deletion: everything of every kind goes, finalizers are waited for, then the namespace."""

from __future__ import annotations

import asyncio
from typing import TypeVar

import pytest
from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import registry
from knarr.objects.keys import is_deleting, metadata_of
from services.controller.controllers.namespace.controller import NamespaceController
from services.controller.controllers.namespace.decide import Content
from tests.controller.cluster import Cluster, cluster
from tests.controller.objects import condition_of, deployment, namespace, node, pod, service
from tests.controller.refusals import refuse_deletion
from tests.support.virtual_time import virtual_time

TEAM = "team"
M = TypeVar("M", bound=Message)


def of_team(obj: M) -> M:
    """The object in the namespace that the tests delete: ``default`` may not be."""
    metadata_of(obj).namespace = TEAM
    return obj


def config_map(name: str) -> core.ConfigMap:
    made = core.ConfigMap()
    made.metadata.name = name
    return of_team(made)


def team(c: Cluster) -> core.Namespace | None:
    return next((found for found in c.api.all(core.Namespace) if found.metadata.name == TEAM), None)


def accounts(c: Cluster) -> list[str]:
    return [account.metadata.name for account in c.api.all(core.ServiceAccount, TEAM)]


@virtual_time
async def test_a_namespace_goes_with_all_its_content() -> None:
    async with cluster() as c:
        c.api.seed(node())
        await c.client.create(namespace(TEAM))
        await c.client.create(of_team(deployment()))
        await c.client.create(of_team(service()))
        for number in range(600):
            await c.client.create(config_map(f"c{number}"))
        await c.until(lambda: len(c.ready_pods()) == 3)
        await c.client.delete(core.Namespace, TEAM)
        await c.until(lambda: team(c) is None)
        left = [
            obj
            for version in registry().versions
            if version.resource.namespaced and version.kind != "Event"
            for obj in c.api.all(version.message, TEAM)
        ]
        assert not left


@virtual_time
async def test_a_finalizer_holds_the_namespace_and_is_told() -> None:
    async with cluster() as c:
        await c.client.create(namespace(TEAM))
        held = config_map("held")
        held.metadata.finalizers.append("example.org/hold")
        await c.client.create(held)
        await c.client.delete(core.Namespace, TEAM)
        await asyncio.sleep(5)
        waiting = team(c)
        assert waiting is not None and waiting.status.phase == "Terminating"
        condition = condition_of(waiting.status, "NamespaceFinalizersRemaining")
        assert condition.status == "True"
        assert condition.message.endswith("example.org/hold in 1 resource instances")

        def release(obj: core.ConfigMap) -> None:
            del obj.metadata.finalizers[:]

        await c.edit(core.ConfigMap, "held", release, TEAM)
        await c.until(lambda: team(c) is None, 5)


@virtual_time
async def test_one_that_is_held_for_long_is_looked_at_ever_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    look = NamespaceController._empty

    async def counted(self: NamespaceController, namespace: str) -> Content:
        nonlocal looks
        looks += 1
        return await look(self, namespace)

    monkeypatch.setattr(NamespaceController, "_empty", counted)
    async with cluster() as c:
        await c.client.create(namespace(TEAM))
        for name in ("held", "also-held"):
            made = config_map(name)
            made.metadata.finalizers.append("example.org/hold")
            await c.client.create(made)
        await c.client.delete(core.Namespace, TEAM)
        await asyncio.sleep(600)
        assert looks < 80
        # What changes is followed closely again.
        await c.edit(core.ConfigMap, "held", lambda found: found.metadata.ClearField("finalizers"), TEAM)
        await asyncio.sleep(10)
        await c.edit(core.ConfigMap, "also-held", lambda found: found.metadata.ClearField("finalizers"), TEAM)
        await c.until(lambda: team(c) is None, 10)


@virtual_time
async def test_the_end_of_a_pod_is_not_waited_for_any_longer_than_it_takes() -> None:
    async with cluster() as c:
        c.api.seed(node())
        c.kubelet.stop_seconds = 30.5
        await c.client.create(namespace(TEAM))
        await c.client.create(of_team(pod("slow", node="node-1", phase="Running")))
        await c.client.delete(core.Namespace, TEAM)
        await c.until(lambda: not c.api.all(core.Pod, TEAM), 31)
        await c.until(lambda: team(c) is None, 1.5)


@virtual_time
async def test_pods_go_before_all_else() -> None:
    async with cluster() as c:
        c.api.seed(node())
        await c.client.create(namespace(TEAM))
        held = of_team(pod("held"))
        held.metadata.finalizers.append("example.org/hold")
        await c.client.create(held)
        await c.client.create(config_map("relied-on"))
        await c.client.delete(core.Namespace, TEAM)
        await c.until(lambda: is_deleting(c.api.all(core.Pod, TEAM)[0]))
        await asyncio.sleep(5)
        relied_on = next(found for found in c.api.all(core.ConfigMap, TEAM) if found.metadata.name == "relied-on")
        assert not is_deleting(relied_on)
        waiting = team(c)
        assert waiting is not None
        remaining = condition_of(waiting.status, "NamespaceContentRemaining")
        assert remaining.message == "Some resources are remaining: pods. has 1 resource instances"

        def release(obj: core.Pod) -> None:
            del obj.metadata.finalizers[:]

        await c.edit(core.Pod, "held", release, TEAM)
        await c.until(lambda: team(c) is None, 5)


@virtual_time
async def test_what_may_not_be_deleted_keeps_nothing_else_of_its_kind_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_deletion(monkeypatch, "a")
    async with cluster(kubelet=False) as c:
        await c.client.create(namespace(TEAM))
        c.api.seed(*(of_team(pod(name)) for name in ("a", "b")))
        await c.client.delete(core.Namespace, TEAM)
        await c.until(lambda: [found.metadata.name for found in c.api.all(core.Pod, TEAM)] == ["a"])
        await c.until(lambda: (found := team(c)) is not None and found.status.conditions)
        left = team(c)
        assert left is not None
        told = condition_of(left.status, "NamespaceDeletionContentFailure")
        assert (told.status, told.reason) == ("True", "ContentDeletionFailed")
        assert "failed calling webhook" in told.message
        monkeypatch.undo()
        await c.until(lambda: team(c) is None)


@virtual_time
async def test_every_namespace_has_a_default_service_account() -> None:
    async with cluster() as c:
        await c.client.create(namespace(TEAM))
        await c.until(lambda: accounts(c) == ["default"])
        await c.client.delete(core.ServiceAccount, "default", TEAM)
        await c.until(lambda: accounts(c) == ["default"])
