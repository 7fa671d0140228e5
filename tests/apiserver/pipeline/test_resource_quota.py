"""ResourceQuotas: what is charged, what is refused and in which words, and that nothing is ever granted twice."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import AlreadyExists, Forbidden, StatusError
from knarr.machinery.resources import Resource
from services.apiserver.admission.attributes import Attributes
from services.apiserver.storage.memory import MemoryStore
from tests.apiserver.pipeline.test_limit_ranger import asking, claim, created, put, refusal
from tests.apiserver.pipeline.world import World, config_map, deployment, fill, pod, ref, running
from tests.support.virtual_time import virtual_time


async def limit(world: World, hard: Mapping[str, str], name: str = "q", used: Mapping[str, str] | None = None, **spec: Any) -> None:
    """A quota that has been counted."""
    made = core.ResourceQuota(metadata=meta.ObjectMeta(name=name), spec=core.ResourceQuotaSpec(**spec))
    put(made.spec.hard, hard)
    await fill(world, [made])
    put(made.status.hard, hard)
    put(made.status.used, dict.fromkeys(hard, "0") if used is None else used)
    await world.caller.update(ref(core.ResourceQuota, name, "status"), made, meta.UpdateOptions())


async def used(world: World, name: str = "q") -> dict[str, str]:
    found: Any = (await world.caller.get(ref(core.ResourceQuota, name))).message
    return {amount: found.status.used[amount].string for amount in sorted(found.status.used)}


def service(name: str, kind: str = "ClusterIP", ports: int = 1) -> core.Service:
    made = core.Service(metadata=meta.ObjectMeta(name=name), spec=core.ServiceSpec(type=kind))
    for number in range(ports):
        made.spec.ports.add(port=80 + number, name=f"p{number}")
    return made


@virtual_time
async def test_pods_are_charged_until_there_is_no_more() -> None:
    async with running() as world:
        hard = {"pods": "2", "count/pods": "9", "requests.cpu": "1", "cpu": "2", "limits.memory": "1Gi", "requests.example.com/gpu": "1"}
        await limit(world, hard)
        amounts = {"cpu": "600m", "memory": "300Mi"}
        await created(world, asking("a", amounts, amounts))
        expected = {
            "count/pods": "1", "cpu": "600m", "limits.memory": "300Mi", "pods": "1", "requests.cpu": "600m",
            "requests.example.com/gpu": "0",
        }  # fmt: skip
        assert await used(world) == expected
        words = "exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1"
        assert await refusal(world, asking("b", amounts, amounts)) == f'pods "b" is forbidden: {words}'
        lacking = "failed quota: q: must specify limits.memory for: c"
        assert await refusal(world, asking("b", {"cpu": "1m"})) == f'pods "b" is forbidden: {lacking}'
        lacking = "failed quota: q: must specify cpu for: c; limits.memory for: c; requests.cpu for: c"
        assert await refusal(world, pod("b")) == f'pods "b" is forbidden: {lacking}'
        two = {"cpu": "1m", "memory": "1Gi", "example.com/gpu": "2"}
        words = (
            "exceeded quota: q, requested: limits.memory=1Gi,requests.example.com/gpu=2, "
            "used: limits.memory=300Mi,requests.example.com/gpu=0, limited: limits.memory=1Gi,requests.example.com/gpu=1"
        )
        assert await refusal(world, asking("b", two, two)) == f'pods "b" is forbidden: {words}'
        assert await used(world) == expected


@virtual_time
async def test_nothing_is_charged_for_what_is_not_stored() -> None:
    async with running() as world:
        await limit(world, {"count/configmaps": "3", "configmaps": "3"})
        await created(world, config_map("a"))
        before = await used(world)
        with pytest.raises(AlreadyExists):
            await created(world, config_map("a"))
        await world.caller.create(ref(core.ConfigMap), config_map("b"), meta.CreateOptions(dry_run=["All"]))
        assert await used(world) == before == {"configmaps": "1", "count/configmaps": "1"}
        await created(world, config_map("b"))
        await created(world, config_map("c"))
        counts = "configmaps=3,count/configmaps=3"
        words = f"exceeded quota: q, requested: configmaps=1,count/configmaps=1, used: {counts}, limited: {counts}"
        with pytest.raises(Forbidden) as refused:
            await world.caller.create(ref(core.ConfigMap), config_map("d"), meta.CreateOptions(dry_run=["All"]))
        assert str(refused.value) == f'configmaps "d" is forbidden: {words}'


@virtual_time
async def test_a_quota_that_was_never_counted_grants_nothing() -> None:
    async with running() as world:
        await limit(world, {"configmaps": "3"}, used={})
        assert await refusal(world, config_map()) == 'configmaps "c" is forbidden: status unknown for quota: q, resources: configmaps'
        # Others are none of its business; and one that says nothing yet holds nobody back.
        await created(world, pod())
        await fill(world, [core.ResourceQuota(metadata=meta.ObjectMeta(name="new"), spec=core.ResourceQuotaSpec())])
        await created(world, service("s"))


@virtual_time
async def test_objects_of_any_group_are_counted() -> None:
    async with running() as world:
        await limit(world, {"count/deployments.apps": "1", "count/services": "5", "resourcequotas": "5"})
        await created(world, deployment("a"))
        words = "exceeded quota: q, requested: count/deployments.apps=1, used: count/deployments.apps=1, limited: count/deployments.apps=1"
        assert await refusal(world, deployment("b")) == f'deployments.apps "b" is forbidden: {words}'
        await limit(world, {"count/services": "1"}, "other")
        assert await used(world) == {"count/deployments.apps": "1", "count/services": "0", "resourcequotas": "1"}
        await created(world, service("s"))
        assert (await used(world))["count/services"] == "1" and await used(world, "other") == {"count/services": "1"}


@virtual_time
async def test_services_are_charged_for_what_they_come_to_be() -> None:
    async with running() as world:
        await limit(world, {"services": "3", "services.nodeports": "3", "services.loadbalancers": "1"})
        await created(world, service("a"))
        await created(world, service("b", "LoadBalancer", 2))
        assert await used(world) == {"services": "2", "services.loadbalancers": "1", "services.nodeports": "2"}
        words = (
            "requested: services.loadbalancers=1,services.nodeports=2, used: services.loadbalancers=1,services.nodeports=2, "
            "limited: services.loadbalancers=1,services.nodeports=3"
        )
        assert await refusal(world, service("c", "LoadBalancer", 2)) == f'services "c" is forbidden: exceeded quota: q, {words}'
        turned = b'{"spec":{"type":"NodePort"}}'
        await world.caller.patch(ref(core.Service, "a"), "merge", turned, meta.PatchOptions())
        assert (await used(world))["services.nodeports"] == "3"
        # What is no longer used the controller gives back; here it stays.
        await world.caller.patch(ref(core.Service, "b"), "merge", b'{"spec":{"type":"ClusterIP"}}', meta.PatchOptions())
        assert await used(world) == {"services": "2", "services.loadbalancers": "1", "services.nodeports": "3"}
        with pytest.raises(Forbidden, match=r"exceeded quota: q, requested: services\.loadbalancers=1,services\.nodeports=2"):
            await world.caller.patch(ref(core.Service, "b"), "merge", b'{"spec":{"type":"LoadBalancer"}}', meta.PatchOptions())


@virtual_time
async def test_claims_are_charged_by_class() -> None:
    async with running() as world:
        gold = "gold.storageclass.storage.k8s.io/"
        await limit(
            world,
            {
                "persistentvolumeclaims": "2",
                "requests.storage": "10Gi",
                f"{gold}requests.storage": "5Gi",
                f"{gold}persistentvolumeclaims": "1",
            },
        )
        first = claim("3Gi")
        first.spec.storage_class_name = "gold"
        await created(world, first)
        assert await used(world) == {
            f"{gold}persistentvolumeclaims": "1",
            f"{gold}requests.storage": "3Gi",
            "persistentvolumeclaims": "1",
            "requests.storage": "3Gi",
        }
        second = claim("8Gi")
        second.metadata.name = "d"
        words = "exceeded quota: q, requested: requests.storage=8Gi, used: requests.storage=3Gi, limited: requests.storage=10Gi"
        assert await refusal(world, second) == f'persistentvolumeclaims "d" is forbidden: {words}'


def rule(scope: str, operator: str, *values: str) -> core.ScopeSelector:
    return core.ScopeSelector(
        match_expressions=[core.ScopedResourceSelectorRequirement(scope_name=scope, operator=operator, values=values)]
    )


@virtual_time
async def test_quotas_with_scopes_are_about_some_pods_only() -> None:
    async with running() as world:
        scopes = ("Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "CrossNamespacePodAffinity")
        for scope in scopes:
            await limit(world, {"pods": "5"}, scope.lower(), scopes=[scope])
        await limit(world, {"pods": "5"}, "critical", scope_selector=rule("PriorityClass", "In", "system-node-critical"))
        await limit(world, {"pods": "5"}, "others", scope_selector=rule("PriorityClass", "NotIn", "system-node-critical"))
        plain, urgent, far = pod("plain"), asking("urgent", {"cpu": "1"}), pod("far")
        urgent.spec.active_deadline_seconds, urgent.spec.priority_class_name = 5, "system-node-critical"
        term = far.spec.affinity.pod_anti_affinity.required_during_scheduling_ignored_during_execution.add(
            topology_key="k", namespaces=["other"]
        )
        term.label_selector.match_labels["a"] = "b"
        for made in (plain, urgent, far):
            await created(world, made)
        found = {name: (await used(world, name))["pods"] for name in (*map(str.lower, scopes), "critical", "others")}
        assert found == {
            "terminating": "1", "notterminating": "2", "besteffort": "2", "notbesteffort": "1", "crossnamespacepodaffinity": "1",
            "critical": "1", "others": "2",
        }  # fmt: skip


@virtual_time
async def test_a_pod_that_grows_is_charged_for_more() -> None:
    async with running() as world:
        await limit(world, {"requests.cpu": "3"})
        await created(world, asking("p", {"cpu": "1"}))
        for wanted, expected in (("2", "2"), ("1500m", "2"), ("4", "")):
            more = f'{{"spec":{{"containers":[{{"name":"c","resources":{{"requests":{{"cpu":"{wanted}"}}}}}}]}}}}'.encode()
            call = world.caller.patch(ref(core.Pod, "p", "resize"), "strategic", more, meta.PatchOptions())
            if expected:
                await call
                assert await used(world) == {"requests.cpu": expected}
                continue
            with pytest.raises(Forbidden, match=r"requested: requests\.cpu=2500m, used: requests\.cpu=2, limited: requests\.cpu=3"):
                await call


@virtual_time
async def test_fifty_at_once_get_what_there_is_on_two_servers() -> None:
    """Both write to one store; each hears late of what the other does."""
    store = MemoryStore()
    async with running(store=store, shared=True) as one, running(store=store, shared=True, fresh=False) as other:
        await limit(one, {"configmaps": "20", "count/configmaps": "30"})
        await limit(one, {"configmaps": "25"}, "other")

        async def attempt(number: int) -> StatusError | None:
            world = (one, other)[number % 2]
            try:
                await created(world, config_map(f"c{number}"))
            except StatusError as error:
                return error
            return None

        answers = await asyncio.gather(*map(attempt, range(50)))
        stored = list(store.items("/registry/configmaps/default/"))
        assert len(stored) == answers.count(None) == 20
        assert all(isinstance(error, Forbidden) and "exceeded quota: q" in str(error) for error in answers if error is not None)
        for world in (one, other):
            await world.caller.api.pipeline.backend.latest()
            assert await used(world) == {"configmaps": "20", "count/configmaps": "20"} and await used(world, "other") == {
                "configmaps": "20"
            }


class Late:
    """Lets somebody else write when all plugins have agreed."""

    name: ClassVar[str] = "Late"

    def __init__(self) -> None:
        self.act: Any = None

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return resource.plural == "configmaps"

    async def validate(self, attributes: Attributes) -> None:
        if self.act is not None:
            act, self.act = self.act, None
            await act()


@virtual_time
async def test_a_quota_that_changes_meanwhile_counts_as_it_is_then() -> None:
    late = Late()
    async with running(late) as world:
        await limit(world, {"configmaps": "5"})

        async def lower() -> None:
            found: Any = (await world.caller.get(ref(core.ResourceQuota, "q"))).message
            put(found.status.hard, {"configmaps": "0"})
            await world.caller.update(ref(core.ResourceQuota, "q", "status"), found, meta.UpdateOptions())

        late.act = lower
        assert "limited: configmaps=0" in await refusal(world, config_map())
        assert await used(world) == {"configmaps": "0"}


@virtual_time
async def test_more_quotas_than_a_transaction_has_room_for() -> None:
    async with running() as world:
        for number in range(101):
            await limit(world, {"configmaps": "5"}, f"q{number:03}")
        words = "its namespace has more than 100 quotas, or 5000 amounts in them: nothing that may be counted is created there"
        assert await refusal(world, config_map()) == f'configmaps "c" is forbidden: {words}'
        await world.caller.delete(ref(core.ResourceQuota, "q000"), meta.DeleteOptions())
        await created(world, config_map())


async def test_more_amounts_than_each_create_can_look_at() -> None:
    async with running() as world:
        await limit(world, {f"count/a{number}.example.com": "1" for number in range(5001)})
        assert "5000 amounts in them" in await refusal(world, config_map())


@virtual_time
async def test_a_claim_that_comes_into_the_scope_of_a_quota_is_charged_as_a_whole() -> None:
    async with running() as world:
        gold = rule("VolumeAttributesClass", "In", "gold")
        await limit(world, {"persistentvolumeclaims": "1", "requests.storage": "5Gi"}, scope_selector=gold)
        for name in ("c", "d"):
            made = claim("3Gi")
            made.metadata.name, made.spec.volume_attributes_class_name = name, "silver"
            await created(world, made)
            status = b'{"status":{"phase":"Bound","currentVolumeAttributesClassName":"silver"}}'
            await world.caller.patch(ref(core.PersistentVolumeClaim, name, "status"), "merge", status, meta.PatchOptions())
        assert await used(world) == {"persistentvolumeclaims": "0", "requests.storage": "0"}
        better = b'{"spec":{"volumeAttributesClassName":"gold"}}'
        await world.caller.patch(ref(core.PersistentVolumeClaim, "c"), "merge", better, meta.PatchOptions())
        assert await used(world) == {"persistentvolumeclaims": "1", "requests.storage": "3Gi"}
        with pytest.raises(Forbidden, match=r"exceeded quota: q, requested: persistentvolumeclaims=1,requests\.storage=3Gi"):
            await world.caller.patch(ref(core.PersistentVolumeClaim, "d"), "merge", better, meta.PatchOptions())
