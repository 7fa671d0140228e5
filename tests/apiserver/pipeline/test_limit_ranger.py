"""LimitRanges: what they give to pods that say nothing, and what they refuse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Forbidden
from tests.apiserver.pipeline.world import World, fill, pod, ref, running
from tests.support.virtual_time import virtual_time

ANNOTATION = "kubernetes.io/limit-ranger"
RATIO = "cpu max limit to request ratio per Container is 2, "
GPU = "example.com/gpu"


def limits(kind: str, name: str = "l", **amounts: Mapping[str, str]) -> core.LimitRange:
    made = core.LimitRange(metadata=meta.ObjectMeta(name=name))
    item = made.spec.limits.add(type=kind)
    for field, found in amounts.items():
        put(getattr(item, field), found)
    return made


def put(field: Any, amounts: Mapping[str, str]) -> None:
    for name, text in amounts.items():
        field[name].string = text


def asking(
    name: str = "p", requests: Mapping[str, str] | None = None, most: Mapping[str, str] | None = None, *, init: bool = False
) -> core.Pod:
    made = pod(name)
    container = made.spec.init_containers.add(name="i", image="busybox") if init else made.spec.containers[0]
    put(container.resources.requests, requests or {})
    put(container.resources.limits, most or {})
    return made


def claim(storage: str) -> core.PersistentVolumeClaim:
    made = core.PersistentVolumeClaim(metadata=meta.ObjectMeta(name="c"))
    made.spec.access_modes.append("ReadWriteOnce")
    made.spec.resources.requests["storage"].string = storage
    return made


async def created(world: World, obj: Any) -> Any:
    return (await world.caller.create(ref(type(obj)), obj, meta.CreateOptions())).message


async def refusal(world: World, obj: Any) -> str:
    with pytest.raises(Forbidden) as refused:
        await created(world, obj)
    return str(refused.value)


def told(container: core.Container) -> tuple[dict[str, str], dict[str, str]]:
    found = container.resources
    return {name: found.requests[name].string for name in sorted(found.requests)}, {
        name: found.limits[name].string for name in sorted(found.limits)
    }


@virtual_time
async def test_containers_get_what_they_do_not_say() -> None:
    async with running() as world:
        given = limits("Container", default={"cpu": "1", "memory": "1Gi"}, default_request={"cpu": "100m"})
        await fill(world, [given])
        made = await created(world, asking(requests={"memory": "10Mi"}, init=True))
        assert told(made.spec.containers[0]) == ({"cpu": "100m", "memory": "1Gi"}, {"cpu": "1", "memory": "1Gi"})
        assert told(made.spec.init_containers[0]) == ({"cpu": "100m", "memory": "10Mi"}, {"cpu": "1", "memory": "1Gi"})
        told_of = (
            "cpu, memory request for container c; cpu, memory limit for container c; cpu request for init container i; "
            "cpu, memory limit for init container i"
        )
        assert made.metadata.annotations[ANNOTATION] == f"LimitRanger plugin set: {told_of}"
        full = {"cpu": "1", "memory": "1Gi"}
        assert ANNOTATION not in (await created(world, asking("full", full, full))).metadata.annotations


@pytest.mark.parametrize(
    ("given", "requests", "most", "words"),
    [
        ({"min": {"cpu": "1"}}, {"memory": "1"}, {}, "but request is 1"),
        ({"min": {"cpu": "1"}}, {"cpu": "500m"}, {}, "minimum cpu usage per Container is 1, but request is 500m"),
        ({"max": {"cpu": "1"}}, {"cpu": "500m"}, {"cpu": "2"}, "maximum cpu usage per Container is 1, but limit is 2"),
        ({"max_limit_request_ratio": {"cpu": "2"}}, {}, {}, RATIO + "but no request is specified or request is 0"),
        ({"max_limit_request_ratio": {"cpu": "2"}}, {"cpu": "1"}, {}, RATIO + "but no limit is specified or limit is 0"),
        ({"max_limit_request_ratio": {"cpu": "2"}}, {"cpu": "100m"}, {"cpu": "1"}, RATIO + "but provided ratio is 10.000000"),
        ({"max": {"memory": "1Gi"}}, {}, {"memory": "2048Mi"}, "maximum memory usage per Container is 1Gi, but limit is 2Gi"),
        ({"max": {GPU: "1"}}, {GPU: "2"}, {GPU: "2"}, f"maximum {GPU} usage per Container is 1, but limit is 2"),
    ],
)  # fmt: skip
@virtual_time
async def test_what_a_container_may_not(given: Any, requests: Any, most: Any, words: str) -> None:
    async with running() as world:
        await fill(world, [limits("Container", **given)])
        if "but request is 1" in words:  # the least is what it asks for then
            assert told((await created(world, asking(requests=requests, most=most))).spec.containers[0])[0]["cpu"] == "1"
            return
        for init in (False, True):
            first = asking(requests=requests, most=most, init=init)
            if init:
                for container in first.spec.containers:
                    put(container.resources.requests, {"cpu": "1", "memory": "1", GPU: "1"})
                    put(container.resources.limits, {"cpu": "1", "memory": "1", GPU: "1"})
            assert await refusal(world, first) == f'pods "p" is forbidden: {words}'


@virtual_time
async def test_a_pod_counts_as_a_whole_and_all_that_is_wrong_is_told() -> None:
    async with running() as world:
        await fill(world, [limits("Pod", max={"cpu": "2", "memory": "1Gi"}, min={"cpu": "500m"})])
        many = asking(requests={"cpu": "1"}, most={"cpu": "1500m", "memory": "1Gi"})
        many.spec.containers.add(name="d", image="busybox")
        put(many.spec.containers[1].resources.limits, {"cpu": "1"})
        words = "maximum cpu usage per Pod is 2, but limit is 2500m"
        assert await refusal(world, many) == f'pods "p" is forbidden: {words}'
        words = (
            "[minimum cpu usage per Pod is 500m.  No request is specified, maximum cpu usage per Pod is 2.  No limit is specified, "
            "maximum memory usage per Pod is 1Gi.  No limit is specified]"
        )
        assert await refusal(world, pod()) == f'pods "p" is forbidden: {words}'
        # An init container runs alone, so the larger of both counts.
        apart = asking(requests={"cpu": "1"}, most={"cpu": "2", "memory": "1Gi"}, init=True)
        put(apart.spec.containers[0].resources.limits, {"cpu": "2", "memory": "1Gi"})
        await created(world, apart)


@virtual_time
async def test_claims_ask_for_no_less_and_no_more() -> None:
    async with running() as world:
        await fill(world, [limits("PersistentVolumeClaim", min={"storage": "2Gi"}, max={"storage": "4Gi"})])
        where = 'persistentvolumeclaims "c" is forbidden: '
        assert await refusal(world, claim("1Gi")) == where + "minimum storage usage per PersistentVolumeClaim is 2Gi, but request is 1Gi"
        assert await refusal(world, claim("5Gi")) == where + "maximum storage usage per PersistentVolumeClaim is 4Gi, but request is 5Gi"
        await created(world, claim("3Gi"))


@virtual_time
async def test_a_range_that_comes_later_makes_nothing_unchangeable() -> None:
    async with running() as world:
        await created(world, claim("5Gi"))
        await created(world, asking(requests={"cpu": "3"}, most={"cpu": "3"}))
        await fill(world, [limits("PersistentVolumeClaim", max={"storage": "4Gi"}), limits("Pod", "other", max={"cpu": "2"})])
        labelled = b'{"metadata":{"labels":{"a":"b"}}}'
        await world.caller.patch(ref(core.PersistentVolumeClaim, "c"), "merge", labelled, meta.PatchOptions())
        await world.caller.patch(ref(core.Pod, "p"), "merge", labelled, meta.PatchOptions())
        more = b'{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"4"},"limits":{"cpu":"4"}}}]}}'
        with pytest.raises(Forbidden, match="maximum cpu usage per Pod is 2, but limit is 4"):
            await world.caller.patch(ref(core.Pod, "p", "resize"), "strategic", more, meta.PatchOptions())


@virtual_time
async def test_other_namespaces_have_no_limits() -> None:
    async with running() as world:
        await fill(world, [limits("Pod", max={"cpu": "2"})])
        await world.caller.create(ref(core.Namespace), core.Namespace(metadata=meta.ObjectMeta(name="free")), meta.CreateOptions())
        account = core.ServiceAccount(metadata=meta.ObjectMeta(name="default"))
        await world.caller.create(ref(core.ServiceAccount, namespace="free"), account, meta.CreateOptions())
        await world.caller.create(ref(core.Pod, namespace="free"), pod(), meta.CreateOptions())


async def test_more_than_a_create_can_look_at() -> None:
    async with running() as world:
        await fill(world, [limits("Container", default={f"example.com/r{number}": "1" for number in range(3000)})])
        many = pod()
        for number in range(6):
            many.spec.containers.add(name=f"c{number}", image="busybox")
        words = "its namespace has more than 100 LimitRanges, or 20000 amounts in them for all containers"
        assert await refusal(world, many) == f'pods "p" is forbidden: {words}'
        for number in range(100):
            await fill(world, [limits("Pod", f"m{number}", max={"cpu": "2"})])
        assert await refusal(world, claim("1Gi")) == f'persistentvolumeclaims "c" is forbidden: {words}'
