"""ResourceQuotas are counted when they come, and give back what is used no longer."""

from __future__ import annotations

import asyncio
from typing import Any

from knarr.api.apiextensions.v1 import apiextensions_pb2 as apiextensions
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Forbidden, status_error
from services.controller.controllers.resourcequota.controller import GATHER_SECONDS, UNCHARGED_SECONDS, ResourceQuotaController
from services.controller.controllers.resourcequota.decide import decide
from tests.controller.cluster import Cluster, cluster
from tests.controller.objects import pod, service
from tests.support.virtual_time import virtual_time


def quota(hard: dict[str, str], name: str = "q", **spec: Any) -> core.ResourceQuota:
    made = core.ResourceQuota(metadata=meta.ObjectMeta(name=name, namespace="default"), spec=core.ResourceQuotaSpec(**spec))
    for amount, text in hard.items():
        made.spec.hard[amount].string = text
    return made


def secret(name: str) -> core.Secret:
    return core.Secret(metadata=meta.ObjectMeta(name=name, namespace="default"))


def used(c: Cluster, name: str = "q") -> dict[str, str]:
    (found,) = (found for found in c.api.all(core.ResourceQuota) if found.metadata.name == name)
    return {amount: found.status.used[amount].string for amount in found.status.used}


def test_what_could_not_be_counted_stays() -> None:
    made = quota({"count/ships.example.com": "5", "pods": "2"})
    made.status.used["count/ships.example.com"].string = "3"
    made.status.used["gone"].string = "1"
    found = decide(made, {})
    assert found is not None
    assert {name: found.used[name].string for name in found.used} == {"count/ships.example.com": "3"}
    assert {name: found.hard[name].string for name in found.hard} == {"count/ships.example.com": "5", "pods": "2"}
    made.status.CopyFrom(found)
    assert decide(made, {}) is None


@virtual_time
async def test_a_quota_is_counted_when_it_comes_and_when_it_is_changed() -> None:
    async with cluster(kubelet=False, controllers=[ResourceQuotaController]) as c:
        running, ended = pod("a", phase="Running"), pod("b", phase="Succeeded")
        for found in (running, ended):
            found.spec.containers[0].resources.requests["cpu"].string = "250m"
        c.api.seed(running, ended, secret("s"))
        await c.client.create(quota({"pods": "9", "count/pods": "9", "requests.cpu": "2", "secrets": "5", "requests.storage": "1Gi"}))
        expected = {"pods": "1", "count/pods": "2", "requests.cpu": "250m", "secrets": "1", "requests.storage": "0"}
        await c.until(lambda: used(c) == expected)
        await c.edit(core.ResourceQuota, "q", lambda found: found.spec.hard["services"].CopyFrom(meta.Quantity(string="3")))
        await c.until(lambda: used(c) == {**expected, "services": "0"})


@virtual_time
async def test_what_ends_is_given_back_at_once() -> None:
    async with cluster(kubelet=False, controllers=[ResourceQuotaController]) as c:
        await c.client.create(quota({"pods": "2", "secrets": "2", "services": "2", "services.nodeports": "1"}))
        none = {"pods": "0", "secrets": "0", "services": "0", "services.nodeports": "0"}
        await c.until(lambda: used(c) == none)
        await asyncio.sleep(1)
        made = service()
        made.spec.type, made.spec.cluster_ip = "NodePort", ""
        for obj in (pod("a"), pod("b"), secret("s"), made):
            await c.client.create(obj)
        full = {"pods": "2", "secrets": "1", "services": "1", "services.nodeports": "1"}
        assert used(c) == full
        await asyncio.sleep(1)
        assert used(c) == full
        await c.client.delete(core.Secret, "s", "default")
        await c.until(lambda: used(c) == {**full, "secrets": "0"}, seconds=2 * GATHER_SECONDS)
        await c.edit(core.Pod, "a", lambda found: setattr(found.status, "phase", "Failed"), subresource="status")
        await c.until(lambda: used(c)["pods"] == "1", seconds=2 * GATHER_SECONDS)
        await c.edit(core.Service, made.metadata.name, lambda found: setattr(found.spec, "type", "ClusterIP"))
        await c.until(lambda: used(c)["services.nodeports"] == "0", seconds=2 * GATHER_SECONDS)
        await c.client.delete(core.ResourceQuota, "q", "default")
        await asyncio.sleep(1)
        await c.client.delete(core.Pod, "b", "default", grace_period_seconds=0)


@virtual_time
async def test_a_pod_that_may_take_for_ever_to_end_is_counted_and_keeps_nothing_else_from_it() -> None:
    async with cluster(kubelet=False, controllers=[ResourceQuotaController]) as c:
        endless = pod("a", node="node-1")
        endless.spec.termination_grace_period_seconds = 2**63 - 1
        await c.client.create(endless)
        await c.client.delete(core.Pod, "a", "default")
        await c.client.create(pod("b"))
        await c.client.create(quota({"pods": "2"}))
        await c.until(lambda: used(c) == {"pods": "2"})


@virtual_time
async def test_what_is_wrong_is_right_again_after_a_while() -> None:
    async with cluster(kubelet=False, controllers=[ResourceQuotaController], quota_resync_seconds=30.0) as c:
        await c.client.create(quota({"secrets": "2"}))
        await c.until(lambda: used(c) == {"secrets": "0"})
        await c.edit(
            core.ResourceQuota, "q", lambda found: found.status.used["secrets"].CopyFrom(meta.Quantity(string="7")), subresource="status"
        )
        await asyncio.sleep(1)
        assert used(c) == {"secrets": "7"}
        await asyncio.sleep(30)
        assert used(c) == {"secrets": "0"}


@virtual_time
async def test_a_kind_that_cannot_be_listed_keeps_no_other_from_being_counted() -> None:
    """As where a webhook that converts it is away."""
    async with cluster(kubelet=False, controllers=[ResourceQuotaController]) as c:
        await c.client.create(quota({"secrets": "2", "configmaps": "2", "pods": "2"}))
        await c.until(lambda: used(c) == {"secrets": "0", "configmaps": "0", "pods": "0"})
        c.api.fail_next(status_error("InternalError", "conversion webhook failed"), verb="list", message_type=core.Secret, times=100)
        c.api.seed(pod("a"))
        await c.edit(core.ResourceQuota, "q", lambda found: found.spec.hard["pods"].CopyFrom(meta.Quantity(string="3")))
        await c.until(lambda: used(c) == {"secrets": "0", "configmaps": "0", "pods": "1"}, 1)


@virtual_time
async def test_custom_resources_are_counted() -> None:
    async with cluster(kubelet=False, controllers=[ResourceQuotaController]) as c:
        defined = apiextensions.CustomResourceDefinition(metadata=meta.ObjectMeta(name="ships.example.com"))
        defined.spec.group, defined.spec.scope = "example.com", "Namespaced"
        defined.spec.names.plural, defined.spec.names.kind = "ships", "Ship"
        version = defined.spec.versions.add(name="v1", served=True, storage=True)
        version.schema.open_apiv3_schema.type = "object"
        await c.client.create(defined)
        await asyncio.sleep(2)
        await c.client.create(quota({"count/ships.example.com": "1"}))
        await c.until(lambda: used(c) == {"count/ships.example.com": "0"})
        (ships,) = (found for found in await c.client.resources() if found.plural == "ships")

        def ship(name: str) -> Any:
            made: Any = ships.storage.message()
            made.metadata.name, made.metadata.namespace = name, "default"
            return made

        await asyncio.sleep(1)
        await c.client.create(ship("a"))
        assert used(c) == {"count/ships.example.com": "1"}
        try:
            await c.client.create(ship("b"))
            raise AssertionError("there was room for one")
        except Forbidden as error:
            assert "exceeded quota: q" in str(error)
        await c.client.delete(ships.storage.message, "a", "default")
        await c.until(lambda: used(c) == {"count/ships.example.com": "0"}, seconds=2 * GATHER_SECONDS)


@virtual_time
async def test_a_count_never_takes_back_what_is_being_used() -> None:
    """Objects come and go all the time: what is used is never less than what is stored."""
    async with cluster(kubelet=False, controllers=[ResourceQuotaController]) as c:
        c.client.api.latency_seconds = 0.003
        await c.client.create(quota({"secrets": "5"}))
        await c.until(lambda: used(c) == {"secrets": "0"})

        async def churn(number: int) -> None:
            for turn in range(40):
                name = f"s{number}-{turn}"
                try:
                    await c.client.create(secret(name))
                    await asyncio.sleep(0.05)
                    await c.client.delete(core.Secret, name, "default")
                except Forbidden:
                    await asyncio.sleep(0.1)
                assert len(c.api.all(core.Secret)) <= int(used(c)["secrets"]) <= 5

        await asyncio.gather(*map(churn, range(8)))
        await c.until(lambda: used(c) == {"secrets": "0"})


@virtual_time
async def test_what_nobody_charged_while_a_quota_was_counted_first_is_counted_soon() -> None:
    """The lists are read; then somebody creates, whom the quota does not limit yet; then it says what is used."""
    async with cluster(kubelet=False, controllers=[ResourceQuotaController]) as c:
        c.client.api.latency_seconds = 1.0
        making = asyncio.create_task(c.client.create(quota({"secrets": "5"})))
        await c.until(lambda: bool(c.api.all(core.ResourceQuota)))
        while not used(c):
            c.api.seed(secret(f"s{len(c.api.all(core.Secret))}"))
            await asyncio.sleep(0.1)
        await making
        assert int(used(c)["secrets"]) < len(c.api.all(core.Secret))
        await c.until(lambda: int(used(c)["secrets"]) == len(c.api.all(core.Secret)), seconds=2 * UNCHARGED_SECONDS)


@virtual_time
async def test_a_pod_that_changes_its_scope_is_counted_by_both_quotas_at_once() -> None:
    async with cluster(kubelet=False, controllers=[ResourceQuotaController]) as c:
        c.api.seed(pod("a"))
        for scope in ("Terminating", "NotTerminating"):
            await c.client.create(quota({"pods": "2"}, scope.lower(), scopes=[scope]))
        await c.until(lambda: (used(c, "terminating"), used(c, "notterminating")) == ({"pods": "0"}, {"pods": "1"}))
        await asyncio.sleep(2 * UNCHARGED_SECONDS)
        await c.edit(core.Pod, "a", lambda found: setattr(found.spec, "active_deadline_seconds", 60))
        moved = {"pods": "1"}, {"pods": "0"}
        await c.until(lambda: (used(c, "terminating"), used(c, "notterminating")) == moved, seconds=2 * GATHER_SECONDS)
