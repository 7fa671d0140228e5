"""The ownership graph and the collector: background, foreground, orphan, dangling and virtual owners."""

from __future__ import annotations

import asyncio
import contextlib
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.api.apiextensions.v1 import apiextensions_pb2 as extensions
from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import StatusError
from services.controller.controllers.garbagecollector.controller import DISCOVERY_SECONDS
from services.controller.controllers.garbagecollector.decide import Delete, DropOwners, LookAt, OwnerState, RemoveFinalizer, Unblock, decide
from services.controller.controllers.garbagecollector.graph import Graph, Item, Owner
from tests.controller.cluster import Cluster, cluster
from tests.controller.objects import NAMESPACE, deployment, namespace, node, owned
from tests.support.virtual_time import run, virtual_time


def item(uid: str, *owners: str, blocks: bool = True, **fate: bool) -> Item:
    refs = tuple(Owner(owner, "v1", "ConfigMap", owner, blocks) for owner in owners)
    return Item(uid, "v1", "ConfigMap", NAMESPACE, uid, refs, **fate)


SOLID, WAITING, ABSENT = OwnerState.SOLID, OwnerState.WAITING, OwnerState.ABSENT


def test_one_living_owner_is_enough() -> None:
    assert decide(item("a", "x"), [], {"x": SOLID}) is None
    assert decide(item("a", "x", "y", "z"), [], {"x": SOLID, "y": ABSENT, "z": WAITING}) == DropOwners(frozenset({"y", "z"}))


def test_without_one_it_goes_as_its_finalizers_ask() -> None:
    assert decide(item("a", "x"), [], {"x": ABSENT}) == Delete("Background")
    assert decide(item("a", "x", orphan=True), [], {"x": ABSENT}) == Delete("Orphan")
    assert decide(item("a", "x"), [item("b", "a")], {"x": WAITING}) == Delete("Foreground")
    going = item("b", "a", deleting=True, foreground=True)
    assert decide(item("a", "x"), [going], {"x": WAITING}) == Delete("Foreground", unblock=True)


def test_a_foreground_delete_waits_for_blocking_dependents_only() -> None:
    target = item("a", deleting=True, foreground=True)
    assert decide(target, [item("b", "a")], {}) == LookAt(["b"])
    assert decide(target, [item("b", "a", deleting=True)], {}) == LookAt([])
    assert decide(target, [item("b", "a", blocks=False)], {}) == RemoveFinalizer("foregroundDeletion")


def test_who_waits_for_itself_lets_its_owner_go() -> None:
    graph = Graph(lambda api_version, kind: None)
    first, second, third = (item(uid, owner, deleting=True, foreground=True) for uid, owner in (("a", "c"), ("b", "a"), ("c", "b")))
    for found in (first, second):
        graph.observe(found)
        assert not graph.in_circle(found)
    graph.observe(third)
    assert all(graph.in_circle(found) for found in (first, second, third))
    assert decide(first, [second], {"c": WAITING}, circle=True) == Unblock()
    graph.observe(item("c", "b", blocks=False, deleting=True, foreground=True))
    assert not graph.in_circle(first)


def test_an_orphaning_delete_lets_its_dependents_stay() -> None:
    assert decide(item("a", deleting=True, orphan=True), [item("b", "a")], {}) == RemoveFinalizer("orphan")


def test_an_owner_never_seen_is_virtual_until_it_is_seen_or_named_no_longer() -> None:
    graph = Graph(lambda api_version, kind: None)
    assert graph.observe(item("a", "x")) == {"a", "x"}
    owner = graph.get("x")
    assert owner is not None and owner.virtual
    graph.observe(item("x"))
    owner = graph.get("x")
    assert owner is not None and not owner.virtual
    assert [found.uid for found in graph.dependents("x")] == ["a"]
    assert graph.remove("x") == {"a"}
    graph.observe(item("b", "y"))
    graph.remove("b")
    assert graph.get("y") is None


def config(name: str) -> core.ConfigMap:
    result = core.ConfigMap()
    result.metadata.name, result.metadata.namespace = name, NAMESPACE
    return result


async def _deployed(c: Cluster) -> None:
    c.api.seed(node())
    await c.client.create(deployment(replicas=2))
    await c.until(lambda: len(c.ready_pods()) == 2)


@virtual_time
async def test_background_deletes_the_owner_first() -> None:
    async with cluster() as c:
        await _deployed(c)
        await c.client.delete(apps.Deployment, "web", NAMESPACE, propagation_policy="Background")
        assert not c.api.all(apps.Deployment)
        assert c.replica_sets()
        await c.until(lambda: not c.replica_sets() and not c.api.all(core.Pod))


@virtual_time
async def test_foreground_deletes_the_owner_last() -> None:
    async with cluster() as c:
        await _deployed(c)
        c.kubelet.stop_seconds = 3.0
        await c.client.delete(apps.Deployment, "web", NAMESPACE, propagation_policy="Foreground")

        def owners_outlive() -> bool:
            if c.api.all(core.Pod):
                assert c.replica_sets()
            if c.replica_sets():
                assert c.api.all(apps.Deployment)
            return not c.api.all(apps.Deployment)

        await c.until(owners_outlive)


@virtual_time
async def test_orphan_leaves_everything_running() -> None:
    async with cluster() as c:
        await _deployed(c)
        await c.client.delete(apps.Deployment, "web", NAMESPACE, propagation_policy="Orphan")
        await c.until(lambda: not c.api.all(apps.Deployment))
        await asyncio.sleep(10)
        (replica_set,) = c.replica_sets()
        assert not replica_set.metadata.owner_references
        assert len(c.ready_pods()) == 2


@virtual_time
async def test_a_dangling_reference_is_verified_and_its_object_deleted() -> None:
    async with cluster(kubelet=False) as c:
        lost = config("owner")
        lost.metadata.uid = "never-there"
        await c.client.create(owned(config("child"), lost))
        await c.until(lambda: not c.api.all(core.ConfigMap))


@virtual_time
async def test_an_owner_made_anew_under_the_same_name_is_another_one() -> None:
    async with cluster(kubelet=False) as c:
        first = await c.client.create(config("owner"))
        await c.client.create(owned(config("child"), first))
        await asyncio.sleep(1)
        await c.client.delete(core.ConfigMap, "owner", NAMESPACE)
        await c.client.create(config("owner"))
        await c.until(lambda: [found.metadata.name for found in c.api.all(core.ConfigMap)] == ["owner"])


@virtual_time
async def test_an_unknown_kind_of_owner_keeps_its_dependents() -> None:
    async with cluster(kubelet=False) as c:
        child = config("child")
        child.metadata.owner_references.add(api_version="example.org/v1", kind="Widget", name="w", uid="w")
        await c.client.create(child)
        await asyncio.sleep(30)
        assert len(c.api.all(core.ConfigMap)) == 1


async def _churn(seed: int) -> None:
    """Random creates and deletes; the watch breaks now and then. Names repeat, uids do not."""
    rng = random.Random(seed)
    async with cluster(kubelet=False) as c:
        alive = dict[str, core.ConfigMap]()
        deleted = set[str]()
        for _ in range(40):
            name = f"c{rng.randrange(12)}"
            stored = {found.metadata.name: found for found in c.api.all(core.ConfigMap)}
            if name in stored and rng.random() < 0.5:
                policy = rng.choice(["Background", "Foreground", "Orphan"])
                with contextlib.suppress(StatusError):  # the collector may have been quicker
                    await c.client.delete(core.ConfigMap, name, NAMESPACE, propagation_policy=policy, uid=stored[name].metadata.uid)
                    deleted.add(stored[name].metadata.uid)
            elif name not in stored:
                made = config(name)
                for owner in rng.sample(sorted(stored), min(len(stored), rng.randrange(3))):
                    owned(made, stored[owner], controller=False, blocks=rng.random() < 0.5)
                alive[name] = await c.client.create(made)
            if rng.random() < 0.2:
                c.api.break_watches()
            if rng.random() < 0.5:
                await asyncio.sleep(rng.random() * 0.05)
        await asyncio.sleep(30)
        _check(c, alive, deleted)


def _check(c: Cluster, made: dict[str, core.ConfigMap], deleted: set[str]) -> None:
    present = {found.metadata.uid: found for found in c.api.all(core.ConfigMap)}
    for found in present.values():
        assert found.metadata.uid not in deleted
        refs = found.metadata.owner_references
        assert all(ref.uid in present for ref in refs), f"{found.metadata.name} names an owner that is gone"
    for found in made.values():
        refs = found.metadata.owner_references
        kept_by = {ref.uid for ref in refs} & present.keys()
        if found.metadata.uid not in present and found.metadata.uid not in deleted:
            assert refs, f"{found.metadata.name} had no owner, nobody deleted it, and it is gone"
            assert not kept_by, f"{found.metadata.name} was deleted although an owner of it lives"


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_nothing_with_a_living_owner_is_deleted_and_nothing_dangling_stays(seed: int) -> None:
    run(_churn(seed))


def template(name: str) -> core.PodTemplate:
    made = core.PodTemplate(metadata=meta.ObjectMeta(name=name, namespace=NAMESPACE))
    made.template.spec.containers.add(name="c", image="x")
    return made


@virtual_time
async def test_a_resource_that_is_served_later_is_collected_too_and_empties_with_its_namespace() -> None:
    async with cluster() as c:
        await c.client.create(namespace("other"))
        added = version_of(core.PodTemplate).resource
        c.api.server.registry.remove(added)
        await asyncio.sleep(DISCOVERY_SECONDS + 1)
        c.api.server.registry.add(added)
        owner = await c.client.create(config("owner"))
        dependent, other = template("owned"), template("other")
        other.metadata.namespace = "other"
        await c.client.create(owned(dependent, owner))
        await c.client.create(other)
        await asyncio.sleep(DISCOVERY_SECONDS + 1)
        await c.client.delete(core.ConfigMap, "owner", NAMESPACE)
        await c.client.delete(core.Namespace, "other")

        async def names() -> list[str]:
            return [found.metadata.name for found in (await c.client.list(core.PodTemplate)).items]

        await asyncio.sleep(5)
        assert await names() == []
        # It goes again: nobody watches it any more, and all else goes on.
        c.api.server.registry.remove(added)
        await asyncio.sleep(DISCOVERY_SECONDS + 1)
        second = await c.client.create(config("second"))
        await c.client.create(owned(config("dependent"), second))
        await c.client.delete(core.ConfigMap, "second", NAMESPACE)
        await c.until(lambda: not [obj for obj in c.api.all(core.ConfigMap, NAMESPACE) if obj.metadata.name == "dependent"])


@virtual_time
async def test_what_an_owner_left_that_came_and_went_before_its_kind_was_known_is_collected() -> None:
    async with cluster(kubelet=False) as c:
        added = version_of(core.PodTemplate).resource
        c.api.server.registry.remove(added)
        await asyncio.sleep(DISCOVERY_SECONDS + 1)
        c.api.server.registry.add(added)
        await c.client.create(owned(config("dependent"), await c.client.create(template("owner"))))
        await asyncio.sleep(1)
        await c.client.delete(core.PodTemplate, "owner", NAMESPACE)
        await asyncio.sleep(DISCOVERY_SECONDS + 1)
        assert [found.metadata.name for found in c.api.all(core.ConfigMap, NAMESPACE)] == []


@virtual_time
async def test_what_a_definition_defines_is_known_soon() -> None:
    async with cluster(kubelet=False) as c:
        added = version_of(core.PodTemplate).resource
        c.api.server.registry.remove(added)
        await asyncio.sleep(DISCOVERY_SECONDS + 1)
        c.api.server.registry.add(added)
        names = extensions.CustomResourceDefinitionNames(plural="things", kind="Thing")
        version = extensions.CustomResourceDefinitionVersion(name="v1", served=True, storage=True)
        version.schema.open_apiv3_schema.type = "object"
        spec = extensions.CustomResourceDefinitionSpec(group="example.com", names=names, scope="Namespaced", versions=[version])
        await c.client.create(extensions.CustomResourceDefinition(metadata=meta.ObjectMeta(name="things.example.com"), spec=spec))
        await asyncio.sleep(3)
        await c.client.create(owned(template("owned"), await c.client.create(config("owner"))))
        await c.client.delete(core.ConfigMap, "owner", NAMESPACE)
        await asyncio.sleep(1)
        assert not (await c.client.list(core.PodTemplate)).items


@virtual_time
async def test_an_owner_in_another_namespace_is_none_and_is_told() -> None:
    async with cluster(kubelet=False) as c:
        elsewhere = config("owner")
        elsewhere.metadata.namespace = "elsewhere"
        c.api.seed(namespace("elsewhere"))
        owner = await c.client.create(elsewhere)
        await asyncio.sleep(1)
        await c.client.create(owned(config("child"), owner))
        await c.until(lambda: [found.metadata.name for found in c.api.all(core.ConfigMap)] == ["owner"])
        reference = f"[v1/ConfigMap, namespace: {NAMESPACE}, name: owner, uid: {owner.metadata.uid}]"
        told = [f'ownerRef {reference} does not exist in namespace "{NAMESPACE}"']
        await c.until(lambda: c.events("OwnerRefInvalidNamespace") == told)
