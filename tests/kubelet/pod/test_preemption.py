"""Critical pods that find no room on their node: who makes it for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.scheduling.v1 import scheduling_pb2 as scheduling
from knarr.objects.amounts import Amounts
from knarr.objects.conditions import get_condition
from knarr.objects.pods import MIRROR
from services.kubelet.pod.admission import Taken, missing, needs
from services.kubelet.pod.critical import SYSTEM_CRITICAL
from services.kubelet.pod.preemption import impossible, victims, yields_to
from services.kubelet.runtime.hollow import HollowRuntime, HollowSettings
from tests.kubelet.support import Cluster, make_pod, running

CLASS = "system-node-critical"
CIDR = "10.244.0.0/24"
MI = 1 << 20


def pod(name: str, cpu_milli: int = 0, memory_mi: int = 0, *, guaranteed: bool = False, priority: int = 0) -> core.Pod:
    found = make_pod(name, priority=priority)
    resources = found.spec.containers[0].resources
    for resource, amount in (("cpu", f"{cpu_milli}m" if cpu_milli else ""), ("memory", f"{memory_mi}Mi" if memory_mi else "")):
        if amount:
            resources.requests[resource].string = amount
            if guaranteed:
                resources.limits[resource].string = amount
    return found


CRITICAL = pod("critical", priority=SYSTEM_CRITICAL)
BEST = pod("best")
SMALL, LARGE = pod("small", 100, 100), pod("large", 300, 300)
SURE, SURER = pod("sure", 100, 100, guaranteed=True), pod("surer", 300, 300, guaranteed=True)
ALL = (BEST, SMALL, LARGE, SURE, SURER)


@pytest.mark.parametrize(
    ("short", "pods", "ended"),
    [
        # One that asks for nothing gives a place, and nothing else.
        ({"pods": 1}, ALL, ["best"]),
        ({"memory": 1}, (BEST,), None),
        # As little as will do, and no guaranteed pod where others have enough.
        ({"memory": 100 * MI}, ALL, ["small"]),
        ({"memory": 101 * MI}, ALL, ["large"]),
        ({"memory": 400 * MI}, ALL, ["large", "small"]),
        ({"memory": 100 * MI, "cpu": 200}, ALL, ["large"]),
        ({"memory": 500 * MI}, ALL, ["large", "small", "sure"]),
        ({"memory": 701 * MI}, ALL, ["large", "small", "surer", "sure"]),
        ({"memory": 801 * MI}, ALL, None),
        ({"cpu": 100, "pods": 2}, ALL, ["best", "small"]),
        ({"example.com/dongle": 1}, ALL, None),
    ],
)
def test_who_makes_room(short: Amounts, pods: tuple[core.Pod, ...], ended: list[str] | None) -> None:
    found = victims(CRITICAL, pods, short)
    assert ([one.metadata.name for one in found] if found is not None else None) == ended


def test_to_whom_one_yields() -> None:
    static = pod("static")
    static.metadata.annotations[MIRROR] = "x"
    static.spec.ClearField("priority")
    lower = pod("lower", priority=SYSTEM_CRITICAL)
    higher = pod("higher", priority=SYSTEM_CRITICAL + 1000)
    assert yields_to(BEST, static) and yields_to(BEST, lower) and yields_to(lower, higher)
    assert not any(yields_to(one, other) for one, other in ((lower, lower), (higher, lower), (static, higher), (lower, static)))
    assert victims(lower, [higher, static], {"pods": 1}) is None


def test_the_words_of_a_pod_that_cannot_be() -> None:
    refused = impossible({"cpu": 900, "memory": 1}, ALL, CRITICAL)
    assert refused.reason == "UnexpectedAdmissionError"
    assert refused.message.endswith("no set of running pods found to reclaim resources: [(res: cpu, q: 100), ]")


AMOUNTS = st.integers(0, 4)
PODS = st.lists(st.builds(lambda cpu, memory, sure: pod("p", cpu, memory, guaranteed=sure), AMOUNTS, AMOUNTS, st.booleans()), max_size=8)


@given(PODS, st.fixed_dictionaries({"cpu": st.integers(1, 9), "memory": st.integers(1, 9 * MI), "pods": st.integers(1, 3)}))
def test_there_is_room_then_and_nobody_ends_twice(pods: list[core.Pod], short: Amounts) -> None:
    found = victims(CRITICAL, pods, short)
    total = {name: sum(needs(one).get(name, 0) for one in (pods if found is None else found)) for name in short}
    assert (found is None) == any(total[name] < amount for name, amount in short.items())
    if found is not None:
        assert len({id(one) for one in found}) == len(found) <= len(pods)


def test_what_is_missing() -> None:
    offered = {"cpu": "1", "memory": "1Gi", "pods": "2"}
    assert missing(pod("one", 600, 10), [Taken(pod("other", 500)), Taken(pod("third"))], offered) == {"cpu": 100, "pods": 1}
    assert missing(BEST, [], offered) == {}


async def test_a_critical_pod_takes_the_place_of_another(tmp_path: Path) -> None:
    runtime = HollowRuntime(CIDR)
    async with running(runtime, tmp_path, max_pods=2) as cluster:
        await _filled(cluster)
        await cluster.client.create(critical("critical"))
        ended = await cluster.phase("Failed", "best")
        assert (ended.status.reason, ended.status.message) == ("Preempting", "Preempted in order to admit critical pod")
        disrupted = get_condition(ended.status, "DisruptionTarget")
        assert disrupted is not None and disrupted.reason == "TerminationByKubelet"
        assert disrupted.message == "Pod was preempted by Kubelet to accommodate a critical pod."
        await cluster.ready("critical")
        await cluster.until(lambda: cluster.events("Preempting") == ["Preempted in order to admit critical pod"])
        assert cluster.pod("small").status.phase == "Running"  # type: ignore[union-attr]
        # Nothing of the other one is left where it was.
        await cluster.until(lambda: (seen := runtime.observe(ended.metadata.uid)) is None or seen.empty)


async def test_what_is_no_matter_of_room_is_refused(tmp_path: Path) -> None:
    async with running(HollowRuntime(CIDR), tmp_path, max_pods=2) as cluster:
        await _filled(cluster)
        wrong = critical("wrong")
        wrong.spec.security_context.sysctls.add(name="kernel.msgmax", value="1")
        await cluster.client.create(wrong)
        assert (await cluster.phase("Failed", "wrong")).status.reason == "SysctlForbidden"
        await cluster.client.create(critical("huge", 1_000_000_000))
        huge = await cluster.phase("Failed", "huge")
        assert huge.status.reason == "UnexpectedAdmissionError" and "(res: cpu, q: " in huge.status.message
        assert {name: cluster.pod(name).status.phase for name in ("best", "small")} == {"best": "Running", "small": "Running"}  # type: ignore[union-attr]


async def test_while_room_is_made(tmp_path: Path) -> None:
    """Nobody else takes it, and who is deleted meanwhile goes."""
    runtime = HollowRuntime(CIDR, HollowSettings(stop_seconds=0.3))
    async with running(runtime, tmp_path, max_pods=2) as cluster:
        await _filled(cluster)
        await cluster.client.create(critical("critical"))
        await cluster.until(lambda: cluster.kubelet.manager._entering)
        await cluster.client.create(pod("late"))
        assert (await cluster.phase("Failed", "late")).status.reason == "OutOfpods"
        assert cluster.kubelet.manager._entering
        await cluster.client.delete(core.Pod, "critical", "default")
        await cluster.until(lambda: cluster.pod("critical") is None and not cluster.kubelet.manager._entering)
        assert cluster.pod("small").status.phase == "Running"  # type: ignore[union-attr]


def critical(name: str, cpu_milli: int = 0) -> core.Pod:
    """As a client creates it, who names a class."""
    found = pod(name, cpu_milli)
    found.spec.ClearField("priority")
    found.spec.priority_class_name = CLASS
    return found


async def _filled(cluster: Cluster) -> None:
    await cluster.client.create(scheduling.PriorityClass(metadata=meta.ObjectMeta(name=CLASS), value=SYSTEM_CRITICAL + 1000))
    for one in (pod("best"), pod("small", 100, 100)):
        await cluster.client.create(one)
        await cluster.ready(one.metadata.name)
