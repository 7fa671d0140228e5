"""Priorities of pods: by their class, by the default one, and what a pod may not say of itself."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.scheduling.v1 import scheduling_pb2 as scheduling
from knarr.machinery.errors import Forbidden
from tests.apiserver.pipeline.world import World, fill, pod, ref, running
from tests.support.virtual_time import virtual_time

CLASSES = ref(scheduling.PriorityClass)


def priority_class(name: str, value: int, *, default: bool = False, policy: str = "") -> scheduling.PriorityClass:
    made = scheduling.PriorityClass(metadata=meta.ObjectMeta(name=name), value=value, global_default=default)
    if policy:
        made.preemption_policy = policy
    return made


async def made(world: World, name: str = "p", **spec: Any) -> tuple[str, int, str]:
    """Class, priority and policy of a new pod that asks for ``spec``."""
    wanted = pod(name)
    for field, value in spec.items():
        setattr(wanted.spec, field, value)
    found: Any = (await world.caller.create(ref(core.Pod), wanted, meta.CreateOptions())).message
    return found.spec.priority_class_name, found.spec.priority, found.spec.preemption_policy


async def refusal(world: World, **spec: Any) -> str:
    with pytest.raises(Forbidden) as refused:
        await made(world, **spec)
    return str(refused.value)


@virtual_time
async def test_a_pod_has_the_priority_of_its_class() -> None:
    async with running() as world:
        await fill(world, [priority_class("high", 1000), priority_class("polite", -5, policy="Never")])
        assert await made(world, "a") == ("", 0, "PreemptLowerPriority")
        assert await made(world, "b", priority_class_name="high") == ("high", 1000, "PreemptLowerPriority")
        assert await made(world, "c", priority_class_name="polite") == ("polite", -5, "Never")
        # What it says of itself anyway is no lie.
        assert await made(world, "d", priority_class_name="polite", priority=-5, preemption_policy="Never") == ("polite", -5, "Never")


@virtual_time
async def test_a_pod_without_a_class_has_the_default_one() -> None:
    async with running() as world:
        await fill(world, [priority_class("usual", 7, default=True, policy="Never")])
        assert await made(world) == ("usual", 7, "Never")


@virtual_time
async def test_the_classes_of_the_system_are_there_before_they_are_stored() -> None:
    async with running() as world:
        assert (await made(world, priority_class_name="system-node-critical"))[1] == 2_000_001_000


@virtual_time
async def test_what_a_pod_may_not_say() -> None:
    async with running() as world:
        await fill(world, [priority_class("high", 1000)])
        words = 'pods "p" is forbidden: no PriorityClass with name nope was found'
        assert await refusal(world, priority_class_name="nope") == words
        computed = "must not be provided in pod spec; priority admission controller computed"
        said = await refusal(world, priority=5, priority_class_name="high")
        assert said == f'pods "p" is forbidden: the integer value of priority (5) {computed} 1000 from the given PriorityClass name'
        said = await refusal(world, preemption_policy="Never", priority_class_name="high")
        words = f"the string value of PreemptionPolicy (Never) {computed} PreemptLowerPriority from the given PriorityClass name"
        assert said == f'pods "p" is forbidden: {words}'


@virtual_time
async def test_a_pod_keeps_what_it_has_when_its_class_goes_and_when_its_manifest_is_sent_again() -> None:
    async with running() as world:
        await fill(world, [priority_class("high", 1000)])
        await made(world, priority_class_name="high")
        await world.caller.delete(ref(scheduling.PriorityClass, "high"), meta.DeleteOptions())
        again = pod()
        again.spec.priority_class_name, again.spec.containers[0].image, again.spec.service_account_name = "high", "other", "default"
        found: Any = (await world.caller.update(ref(core.Pod, "p"), again, meta.UpdateOptions())).message
        assert (found.spec.priority, found.spec.containers[0].image) == (1000, "other")


@virtual_time
async def test_only_one_class_is_the_default() -> None:
    async with running() as world:
        await fill(world, [priority_class("usual", 7, default=True), priority_class("other", 8)])
        words = "PriorityClass usual is already marked as default. Only one default can exist"
        with pytest.raises(Forbidden, match=words):
            await world.caller.create(CLASSES, priority_class("third", 9, default=True), meta.CreateOptions())
        for name, refused in (("other", True), ("usual", False)):
            call = world.caller.patch(ref(scheduling.PriorityClass, name), "merge", b'{"globalDefault":true}', meta.PatchOptions())
            if refused:
                with pytest.raises(Forbidden, match=words):
                    await call
            else:
                await call
        await world.caller.patch(ref(scheduling.PriorityClass, "usual"), "merge", b'{"globalDefault":false}', meta.PatchOptions())
        await world.caller.patch(ref(scheduling.PriorityClass, "other"), "merge", b'{"globalDefault":true}', meta.PatchOptions())
        assert await made(world) == ("other", 8, "PreemptLowerPriority")
