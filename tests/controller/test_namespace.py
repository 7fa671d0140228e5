"""Namespace deletion: everything of every kind goes, finalizers are waited for, then the namespace."""

from __future__ import annotations

import asyncio

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.kinds import KINDS
from knarr.objects.conditions import get_condition
from tests.controller.cluster import cluster
from tests.controller.objects import deployment, namespace, node, service
from tests.support.virtual_time import virtual_time


@virtual_time
async def test_a_namespace_goes_with_all_its_content() -> None:
    async with cluster() as c:
        c.api.seed(node())
        await c.client.create(namespace())
        await c.client.create(deployment())
        await c.client.create(service())
        for number in range(600):
            config = core.ConfigMap()
            config.metadata.name, config.metadata.namespace = f"c{number}", "default"
            await c.client.create(config)
        await c.until(lambda: len(c.ready_pods()) == 3)
        await c.client.delete(core.Namespace, "default")
        await c.until(lambda: not c.api.all(core.Namespace))
        left = [obj for kind in KINDS if kind.namespaced and kind.name != "Event" for obj in c.api.all(kind.message, "default")]
        assert not left


@virtual_time
async def test_a_finalizer_holds_the_namespace_and_is_told() -> None:
    async with cluster() as c:
        await c.client.create(namespace())
        held = core.ConfigMap()
        held.metadata.name, held.metadata.namespace = "held", "default"
        held.metadata.finalizers.append("example.org/hold")
        await c.client.create(held)
        await c.client.delete(core.Namespace, "default")
        await asyncio.sleep(5)
        (waiting,) = c.api.all(core.Namespace)
        assert waiting.status.phase == "Terminating"
        condition = get_condition(waiting.status, "NamespaceFinalizersRemaining")
        assert condition.status == "True"
        assert condition.message.endswith("example.org/hold in 1 resource instances")

        def release(obj: core.ConfigMap) -> None:
            del obj.metadata.finalizers[:]

        await c.edit(core.ConfigMap, "held", release)
        await c.until(lambda: not c.api.all(core.Namespace), 5)


@virtual_time
async def test_every_namespace_has_a_default_service_account() -> None:
    async with cluster() as c:
        await c.client.create(namespace())
        await c.until(lambda: [account.metadata.name for account in c.api.all(core.ServiceAccount)] == ["default"])
        await c.client.delete(core.ServiceAccount, "default", "default")
        await c.until(lambda: len(c.api.all(core.ServiceAccount)) == 1)
