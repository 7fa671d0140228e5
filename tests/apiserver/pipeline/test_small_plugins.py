"""What the plugins with one rule each change and refuse."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.networking.v1 import networking_pb2 as networking
from knarr.api.node.v1 import node_pb2 as nodes
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.machinery.errors import Forbidden, Invalid
from knarr.objects.copies import copy_of
from services.apiserver.admission.runtime_class.tolerations import covers, merged
from tests.apiserver.pipeline.test_limit_ranger import claim, created, refusal
from tests.apiserver.pipeline.world import World, fill, node, pod, ref, running
from tests.support.virtual_time import virtual_time

STORAGE_DEFAULT, INGRESS_DEFAULT = "storageclass.kubernetes.io/is-default-class", "ingressclass.kubernetes.io/is-default-class"


async def patched(world: World, kind: type[Any], name: str, body: bytes, subresource: str = "") -> Any:
    return (await world.caller.patch(ref(kind, name, subresource), "strategic", body, meta.PatchOptions())).message


async def said(call: Coroutine[Any, Any, Any]) -> str:
    with pytest.raises(Forbidden) as refused:
        await call
    return str(refused.value)


def storage_class(name: str, *, default: bool = False, expands: bool = False) -> storage.StorageClass:
    made = storage.StorageClass(metadata=meta.ObjectMeta(name=name), provisioner="example.com/p", allow_volume_expansion=expands)
    if default:
        made.metadata.annotations[STORAGE_DEFAULT] = "true"
    return made


@virtual_time
async def test_pods_tolerate_lost_nodes_for_a_while() -> None:
    async with running() as world:
        made = pod()
        made.spec.tolerations.add(key="node.kubernetes.io/unreachable", operator="Exists", effect="NoExecute", toleration_seconds=5)
        found = await created(world, made)
        seconds = {toleration.key: toleration.toleration_seconds for toleration in found.spec.tolerations}
        assert seconds == {"node.kubernetes.io/unreachable": 5, "node.kubernetes.io/not-ready": 300}
        made = pod("all")
        made.spec.tolerations.add(operator="Exists")
        assert len((await created(world, made)).spec.tolerations) == 1


@virtual_time
async def test_a_node_begins_with_a_taint() -> None:
    async with running() as world:
        found = await created(world, node())
        assert [(taint.key, taint.effect) for taint in found.spec.taints] == [("node.kubernetes.io/not-ready", "NoSchedule")]


@virtual_time
async def test_claims_and_ingresses_get_the_default_class() -> None:
    async with running() as world:
        assert not (await created(world, claim("1Gi"))).spec.HasField("storage_class_name")
        await fill(world, [storage_class("other"), storage_class("usual", default=True)])
        second, third = claim("1Gi"), claim("1Gi")
        second.metadata.name, third.metadata.name, third.spec.storage_class_name = "d", "e", ""
        assert (await created(world, second)).spec.storage_class_name == "usual"
        found = await created(world, third)
        assert found.spec.HasField("storage_class_name") and found.spec.storage_class_name == ""
        ingress_class = networking.IngressClass(metadata=meta.ObjectMeta(name="front", annotations={INGRESS_DEFAULT: "true"}))
        ingress_class.spec.controller = "example.com/c"
        await fill(world, [ingress_class])
        made = networking.Ingress(metadata=meta.ObjectMeta(name="i"))
        made.spec.default_backend.service.name, made.spec.default_backend.service.port.number = "s", 80
        assert (await created(world, copy_of(made))).spec.ingress_class_name == "front"
        made.metadata.name, made.metadata.annotations["kubernetes.io/ingress.class"] = "j", "old"
        assert not (await created(world, made)).spec.HasField("ingress_class_name")


@virtual_time
async def test_only_bound_claims_of_classes_that_say_so_grow() -> None:
    async with running() as world:
        await fill(world, [storage_class("fixed"), storage_class("growing", expands=True)])
        for name in ("fixed", "growing"):
            made = claim("1Gi")
            made.metadata.name = made.spec.storage_class_name = name
            await created(world, made)
        more = b'{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}'
        where = 'persistentvolumeclaims "growing" is forbidden: '
        await patched(world, core.PersistentVolumeClaim, "growing", b'{"metadata":{"labels":{"a":"b"}}}')
        for name in ("fixed", "growing"):
            await patched(world, core.PersistentVolumeClaim, name, b'{"status":{"phase":"Bound"}}', "status")
        assert (await patched(world, core.PersistentVolumeClaim, "growing", more)).spec.resources.requests["storage"].string == "2Gi"
        words = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
        assert await said(patched(world, core.PersistentVolumeClaim, "fixed", more)) == where.replace("growing", "fixed") + words


@virtual_time
async def test_a_pod_takes_over_what_its_runtime_class_says() -> None:
    async with running() as world:
        found = nodes.RuntimeClass(metadata=meta.ObjectMeta(name="sandboxed"), handler="h")
        found.overhead.pod_fixed["cpu"].string = "0.25"
        found.scheduling.node_selector["kind"] = "big"
        found.scheduling.tolerations.add(key="big", operator="Exists")
        await fill(world, [found])
        made = pod()
        made.spec.runtime_class_name = "sandboxed"
        stored = await created(world, made)
        assert stored.spec.overhead["cpu"].string == "250m" and dict(stored.spec.node_selector) == {"kind": "big"}
        assert [toleration.key for toleration in stored.spec.tolerations][-1] == "big"
        where = 'pods "q" is forbidden: '
        made.metadata.name, made.spec.node_selector["kind"] = "q", "small"
        words = "conflict: runtimeClass.scheduling.nodeSelector[kind] = big; pod.spec.nodeSelector[kind] = small"
        assert await refusal(world, made) == where + words
        made.spec.node_selector["kind"], made.spec.overhead["cpu"].string = "big", "1"
        assert await refusal(world, made) == where + "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
        made.spec.ClearField("runtime_class_name")
        words = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
        assert await refusal(world, made) == where + words
        made.spec.runtime_class_name = "gone"
        assert await refusal(world, made) == where + 'pod rejected: RuntimeClass "gone" not found'


def toleration(key: str = "", operator: str = "Equal", value: str = "", effect: str = "", seconds: int | None = None) -> core.Toleration:
    made = core.Toleration(key=key, operator=operator, value=value, effect=effect)
    if seconds is not None:
        made.toleration_seconds = seconds
    return made


@pytest.mark.parametrize(
    ("wide", "narrow", "does"),
    [
        (toleration("a", value="v"), toleration("a", value="v"), True),
        (toleration("a", value="v"), toleration("a", value="w"), False),
        (toleration("a", "Exists"), toleration("a", value="w"), True),
        (toleration("a", "Exists"), toleration("b", "Exists"), False),
        (toleration("", "Exists"), toleration("b", value="x", effect="NoExecute"), True),
        (toleration("a", "Exists", effect="NoExecute"), toleration("a", "Exists"), False),
        (toleration("a", "Exists", effect="NoExecute", seconds=5), toleration("a", "Exists", effect="NoExecute"), False),
        (toleration("a", "Exists", effect="NoExecute", seconds=5), toleration("a", "Exists", effect="NoExecute", seconds=3), True),
        (toleration("a", "Exists", effect="NoExecute"), toleration("a", "Exists", effect="NoExecute", seconds=3), True),
    ],
)
def test_a_toleration_covers_another(wide: core.Toleration, narrow: core.Toleration, does: bool) -> None:
    assert covers(wide, narrow) is does
    if does and wide != narrow:
        assert merged([narrow, wide]) == merged([wide, narrow]) == [wide]
    elif not covers(narrow, wide):
        assert merged([narrow, wide]) == [narrow, wide]


@virtual_time
async def test_a_bound_pod_has_the_zone_and_region_of_its_node() -> None:
    async with running() as world:
        there = node()
        there.metadata.labels.update({"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", "other": "x"})
        await fill(world, [there, pod(), pod("own", on="n")])
        binding = core.Binding(metadata=meta.ObjectMeta(name="p"), target=core.ObjectReference(kind="Node", name="n"))
        await world.caller.create(ref(core.Pod, "p", "binding"), binding, meta.CreateOptions())
        bad = core.Binding(metadata=meta.ObjectMeta(name="p", labels={"a": "no label"}), target=core.ObjectReference(name="n"))
        with pytest.raises(Invalid, match=r"metadata\.labels"):
            await world.caller.create(ref(core.Pod, "p", "binding"), bad, meta.CreateOptions())
        for name in ("p", "own"):
            found: Any = (await world.caller.get(ref(core.Pod, name))).message
            assert dict(found.metadata.labels) == {"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r"}


@virtual_time
async def test_a_pod_does_not_grow_beyond_its_node() -> None:
    async with running() as world:
        windows = node("w")
        windows.metadata.labels["kubernetes.io/os"] = "windows"
        objects = [pod("p", on="n"), pod("q", on="w"), pod("r", on="gone")]
        for made in objects:
            made.spec.containers[0].resources.requests["cpu"].string = "1"
        await fill(world, [node(), windows, *objects])

        def more(name: str, cpu: str) -> Coroutine[Any, Any, Any]:
            body = f'{{"spec":{{"containers":[{{"name":"c","resources":{{"requests":{{"cpu":"{cpu}"}}}}}}]}}}}'.encode()
            return patched(world, core.Pod, name, body, "resize")

        words = "Node didn't have enough allocatable resources: cpu, requested: 9000, allocatable: 8000"
        assert await said(more("p", "9")) == f'pods "p" is forbidden: {words}'
        assert await said(more("q", "2")) == 'pods "q" is forbidden: pod resize is only supported on linux nodes, node "w" is "windows"'
        assert await said(more("r", "2")) == 'pods "r" is forbidden: node "gone" not found'
        await more("p", "8")
        await more("r", "1")  # nothing of it is new
