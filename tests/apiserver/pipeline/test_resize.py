"""Resize: the amounts of CPU and memory of a pod's containers, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Invalid
from tests.apiserver.pipeline.world import World, fill, node, pod, ref, running
from tests.support.virtual_time import virtual_time

AMOUNTS = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "128Mi"}}


def made(*, policy: str = "") -> core.Pod:
    """A pod of two containers, of which the first has resources, and an init container."""
    found = pod(on="n")
    found.spec.containers.add(name="d", image="busybox")
    found.spec.init_containers.add(name="i", image="busybox")
    for kind, amounts in AMOUNTS.items():
        for name, text in amounts.items():
            getattr(found.spec.containers[0].resources, kind)[name].string = text
            getattr(found.spec.init_containers[0].resources, kind)[name].string = text
    if policy:
        found.spec.init_containers[0].resize_policy.add(resource_name="cpu", restart_policy=policy)
    return found


async def resize(world: World, kind: str = "strategic", **spec: Any) -> Any:
    body = json.dumps({"metadata": {"labels": {"dropped": "yes"}}, "spec": {"nodeName": "other", **spec}}).encode()
    return (await world.caller.patch(ref(core.Pod, "p", "resize"), kind, body, meta.PatchOptions())).message


async def causes(world: World, **spec: Any) -> list[str]:
    with pytest.raises(Invalid) as refused:
        await resize(world, **spec)
    return [f"{cause.field}: {cause.message}" for cause in refused.value.status.details.causes]


def amounts(resources: core.ResourceRequirements, kind: str) -> dict[str, str]:
    return {name: amount.string for name, amount in getattr(resources, kind).items()}


@virtual_time
async def test_amounts_change_and_nothing_else_is_taken() -> None:
    async with running() as world:
        await fill(world, [node(), made()])
        found = await resize(world, containers=[{"name": "c", "resources": {"requests": {"cpu": "200m"}, "limits": {"memory": "256Mi"}}}])
        resources = found.spec.containers[0].resources
        assert amounts(resources, "requests") == {"cpu": "200m", "memory": "64Mi"}
        assert amounts(resources, "limits") == {"cpu": "1", "memory": "256Mi"}
        assert (found.spec.node_name, dict(found.metadata.labels), found.metadata.generation) == ("n", {}, 2)
        again = await resize(world, containers=[{"name": "c", "resources": {"requests": {"cpu": "0.2"}}}])
        assert again.metadata.generation == 2
        # What runs before the others is resized too, for its next start.
        found = await resize(world, initContainers=[{"name": "i", "resources": {"requests": {"cpu": "300m"}}}])
        assert found.spec.init_containers[0].resources.requests["cpu"].string == "300m"


@virtual_time
async def test_what_may_not_change() -> None:
    async with running() as world:
        await fill(world, [node(), made()])
        only = "spec: Forbidden: only cpu and memory resources are mutable"
        here = "spec.containers[0].resources"
        assert await causes(world, containers=[{"name": "c", "image": "other"}]) == [only]
        assert await causes(
            world, containers=[{"name": "c", "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}]}]
        ) == [only]
        assert await causes(world, containers=[{"name": "c", "resources": {"limits": {"example.com/x": "1"}}}]) == [only]
        assert await causes(world, containers=[{"name": "c", "resources": {"limits": {"cpu": None}}}]) == [
            f"{here}.limits: Forbidden: resource limits cannot be removed"
        ]
        assert await causes(world, containers=[{"name": "c", "resources": {"requests": {"cpu": "2"}}}]) == [
            f'{here}.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'
        ]
        assert await causes(world, initContainers=[{"name": "i", "image": "other"}]) == [
            "spec.initContainers[0]: Forbidden: only cpu and memory resources for init or sidecar containers are mutable"
        ]


@virtual_time
async def test_a_request_that_goes_without_a_limit_is_refused() -> None:
    async with running() as world:
        asking = made()
        del asking.spec.containers[0].resources.limits["cpu"]
        await fill(world, [node(), asking])
        assert await causes(world, containers=[{"name": "c", "resources": {"requests": {"cpu": None}}}]) == [
            "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"
        ]


@virtual_time
async def test_containers_neither_come_nor_go_nor_move() -> None:
    async with running() as world:
        await fill(world, [node(), made()])
        moved = "Forbidden: containers may not be renamed or reordered on resize"
        one, two = {"name": "c", "image": "busybox", "resources": AMOUNTS}, {"name": "d", "image": "busybox"}
        assert await causes(world, kind="merge", containers=[two, one]) == [
            f"spec.containers[0].name: {moved}",
            f"spec.containers[1].name: {moved}",
        ]
        assert await causes(world, kind="merge", containers=[one]) == [
            "spec.containers: Forbidden: containers may not be added or removed on resize"
        ]


@virtual_time
async def test_the_class_of_service_stays() -> None:
    async with running() as world:
        alone = pod(on="n")
        await fill(world, [node(), alone])
        change = {"requests": {"cpu": "1", "memory": "1Mi"}, "limits": {"cpu": "1", "memory": "1Mi"}}
        assert await causes(world, containers=[{"name": "c", "resources": change}]) == [
            'spec: Invalid value: "BestEffort": Pod QOS Class may not change as a result of resizing'
        ]


@virtual_time
async def test_a_node_that_does_not_tell_what_containers_have_does_not_resize_them() -> None:
    async with running() as world:
        await fill(world, [node(), made()])
        found: Any = (await world.caller.get(ref(core.Pod, "p"))).message
        told = found.status.container_statuses.add(name="c")
        told.state.running.SetInParent()
        found = (await world.caller.update(ref(core.Pod, "p", "status"), found, meta.UpdateOptions())).message
        change = [{"name": "c", "resources": {"requests": {"cpu": "200m"}}}]
        assert await causes(world, containers=change) == ["spec: Forbidden: Pod running on node without support for resize"]
        found.status.container_statuses[0].resources.SetInParent()
        await world.caller.update(ref(core.Pod, "p", "status"), found, meta.UpdateOptions())
        await resize(world, containers=change)


@virtual_time
async def test_an_init_container_that_ends_is_not_started_anew_for_it() -> None:
    async with running() as world:
        await fill(world, [node(), made(policy="RestartContainer")])
        assert await causes(world, initContainers=[{"name": "i", "resources": {"requests": {"cpu": "300m"}}}]) == [
            "spec.initContainers[0]: Forbidden: non-sidecar init containers with a resize policy of RestartContainer cannot be resized"
        ]


@virtual_time
async def test_a_static_pod_is_not_resized() -> None:
    async with running() as world:
        mirror = made()
        mirror.metadata.annotations["kubernetes.io/config.mirror"] = "hash"
        await fill(world, [node(), mirror])
        with pytest.raises(Invalid, match="static pods cannot be resized"):
            await resize(world, containers=[{"name": "c", "resources": {"requests": {"cpu": "200m"}}}])
