"""Silent nodes: conditions, taints, evictions and their cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.informer import Informer
from knarr.machinery.errors import status_error
from knarr.machinery.times import to_time
from knarr.objects.conditions import condition_status
from knarr.objects.keys import is_deleting
from knarr.objects.pods import is_ready
from services.controller.controllers.nodelifecycle.decide import evictions, seen_taints, silenced, taints
from tests.controller.cluster import Cluster, cluster
from tests.controller.nodes import beat, beating, lease, named, say
from tests.controller.objects import condition_of, node, pod, replica_set
from tests.controller.refusals import refuse_deletion
from tests.support.virtual_time import virtual_time

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def keys(found: Iterable[core.Taint]) -> set[tuple[str, str]]:
    return {(taint.key.removeprefix("node.kubernetes.io/"), taint.effect) for taint in found}


@pytest.mark.parametrize(
    ("ready", "wanted"),
    [
        ("True", set()),
        ("False", {("not-ready", "NoSchedule"), ("not-ready", "NoExecute")}),
        ("Unknown", {("unreachable", "NoSchedule"), ("unreachable", "NoExecute")}),
    ],
)
def test_taints_follow_the_ready_condition(ready: str, wanted: set[tuple[str, str]]) -> None:
    target = node(ready=ready)
    target.spec.taints.add(key="mine", effect="NoSchedule")
    target.spec.taints.add(key="node.kubernetes.io/not-ready", effect="NoSchedule")
    assert keys(taints(target, NOW, executes=True)) == wanted | {("mine", "NoSchedule")}


def test_cordon_and_pressure_are_taints_too() -> None:
    target = node()
    target.spec.unschedulable = True
    target.status.conditions.add(type="DiskPressure", status="True")
    assert keys(taints(target, NOW, executes=True)) == {("unschedulable", "NoSchedule"), ("disk-pressure", "NoSchedule")}


def test_a_silent_node_vouches_for_nothing() -> None:
    status = silenced(node(), NOW)
    assert {condition.status for condition in status.conditions} == {"Unknown"}
    assert condition_of(status, "Ready").reason == "NodeStatusUnknown"
    assert condition_of(status, "PIDPressure").reason == "NodeStatusNeverUpdated"


def test_evictions_wait_as_long_as_each_pod_tolerates() -> None:
    target = node(ready="Unknown")
    target.spec.taints.extend(taints(target, NOW, executes=True))
    hasty, patient, forever = (pod(name, node="node-1", phase="Running", ready=True) for name in ("hasty", "patient", "forever"))
    patient.spec.tolerations.add(key="node.kubernetes.io/unreachable", operator="Exists", effect="NoExecute", toleration_seconds=60)
    forever.spec.tolerations.add(operator="Exists")
    # As many seconds as a number can say are for ever, and keep nobody else.
    counting = pod("counting", node="node-1", phase="Running", ready=True)
    counting.spec.tolerations.add(key="node.kubernetes.io/unreachable", operator="Exists", toleration_seconds=2**63 - 1)
    later = NOW + timedelta(seconds=20)
    plan = evictions(target, [hasty, patient, forever, counting], seen_taints(target, {}, later), later)
    assert [found.metadata.name for found in plan.now] == ["hasty"]
    assert [found.metadata.name for found in plan.later] == ["patient"]
    assert plan.again_seconds == 40
    assert len(plan.not_ready) == 4


def test_of_several_tolerations_of_a_taint_the_first_counts() -> None:
    target = node(ready="Unknown")
    target.spec.taints.extend(taints(target, NOW, executes=True))
    limits: dict[str, tuple[int | None, ...]] = {"for-ever": (None, 10), "for-a-while": (10, None), "longer": (20, 10)}
    pods = []
    for name, given in limits.items():
        pods.append(pod(name, node="node-1", phase="Running"))
        for seconds in given:
            pods[-1].spec.tolerations.add(operator="Exists", effect="NoExecute", toleration_seconds=seconds)
    later = NOW + timedelta(seconds=15)
    plan = evictions(target, pods, seen_taints(target, {}, later), later)
    assert [found.metadata.name for found in plan.now] == ["for-a-while"]
    assert [found.metadata.name for found in plan.later] == ["longer"] and plan.again_seconds == 5


def test_a_pod_that_comes_later_has_its_time_too() -> None:
    target = node()
    target.spec.taints.add(key="full", effect="NoExecute")
    made = pod("late", node="node-1", phase="Running", ready=True)
    made.spec.tolerations.add(key="full", operator="Exists", toleration_seconds=60)
    made.metadata.creation_timestamp.CopyFrom(to_time(NOW + timedelta(seconds=1000)))
    seen = seen_taints(target, {}, NOW)
    assert evictions(target, [made], seen, NOW + timedelta(seconds=1020)).again_seconds == 40
    # What was seen before counts from then, a taint of another value anew.
    assert seen_taints(target, seen, NOW + timedelta(seconds=5)) == seen
    target.spec.taints[0].value = "other"
    assert seen_taints(target, seen, NOW + timedelta(seconds=5)) == {("full", "other"): NOW + timedelta(seconds=5)}


@virtual_time
async def test_a_taint_that_a_person_adds_counts_from_when_it_is_seen() -> None:
    async with cluster(node_grace_seconds=1000.0) as c:
        c.api.seed(node(), lease("node-1"))
        target = replica_set(replicas=1)
        target.spec.template.spec.tolerations.add(key="full", operator="Exists", effect="NoExecute", toleration_seconds=60)
        await c.client.create(target)
        await c.until(lambda: len(c.ready_pods()) == 1)
        first = c.ready_pods()[0].metadata.uid
        await c.edit(core.Node, "node-1", lambda found: found.spec.taints.add(key="full", effect="NoExecute"), "")
        for _ in range(5):
            await asyncio.sleep(10)
            # Whatever else is heard of the node meanwhile.
            await c.edit(core.Node, "node-1", lambda found: found.metadata.labels.update(beat=str(c.kubelet.clock.now().second)), "")
        assert [found.metadata.uid for found in c.ready_pods()] == [first]
        await c.until(lambda: first not in {found.metadata.uid for found in c.active_pods()}, 15)
        assert c.events("TaintManagerEviction")


def one_node(c: Cluster) -> core.Node:
    return named(c, "node-1")


def tolerant(replicas: int = 2, seconds: int = 60) -> apps.ReplicaSet:
    target = replica_set(replicas=replicas)
    target.spec.template.spec.tolerations.add(
        key="node.kubernetes.io/unreachable", operator="Exists", effect="NoExecute", toleration_seconds=seconds
    )
    return target


@virtual_time
async def test_a_node_that_falls_silent_loses_its_pods_after_their_patience() -> None:
    async with cluster() as c, beating(c, "node-2"):
        c.api.seed(node(), lease("node-1"))
        await c.client.create(tolerant())
        await c.until(lambda: len(c.ready_pods()) == 2)
        for _ in range(10):
            await asyncio.sleep(10)
            await beat(c, "node-1")
        assert condition_status(one_node(c).status, "Ready") == "True"
        c.kubelet.stop_seconds, c.kubelet.schedules = 10_000, False
        await c.until(lambda: condition_status(one_node(c).status, "Ready") == "Unknown", 45)
        await c.until(lambda: keys(one_node(c).spec.taints) == {("unreachable", "NoSchedule"), ("unreachable", "NoExecute")}, 1)
        await c.until(lambda: sum(1 for p in c.api.all(core.Pod) if is_ready(p)) == 0, 1)
        assert len(c.active_pods()) == 2
        await c.until(lambda: sum(1 for p in c.api.all(core.Pod) if is_deleting(p)) == 2, 65)
        told = [condition_of(p.status, "DisruptionTarget") for p in c.api.all(core.Pod) if is_deleting(p)]
        assert [(found.status, found.reason) for found in told] == [("True", "DeletionByTaintManager")] * 2


@virtual_time
async def test_a_node_that_returns_in_time_keeps_its_pods() -> None:
    async with cluster() as c, beating(c, "node-2"):
        c.api.seed(node(), lease("node-1"))
        await c.client.create(tolerant())
        await c.until(lambda: len(c.ready_pods()) == 2)
        before = {p.metadata.uid for p in c.active_pods()}
        await c.until(lambda: len(one_node(c).spec.taints) == 2, 60)
        await asyncio.sleep(30)

        await beat(c, "node-1")
        await say(c, "node-1")
        await c.until(lambda: not one_node(c).spec.taints, 1)
        told = {f"Cancelling deletion of Pod default/{found.metadata.name}" for found in c.active_pods()}
        await c.until(lambda: set(c.events("TaintManagerEviction")) == told, 1)
        for _ in range(10):
            await asyncio.sleep(10)
            await beat(c, "node-1")
        assert {p.metadata.uid for p in c.active_pods()} == before


@virtual_time
async def test_nobody_is_silent_while_the_server_is_deaf() -> None:
    async with cluster() as c:
        c.api.seed(node(), lease("node-1"))
        await c.until(lambda: c.events("RegisteredNode"))
        gone = status_error("ServiceUnavailable", "the connection was lost")
        await asyncio.sleep(35)
        c.api.fail_next(gone, verb="get", message_type=coordination.Lease)
        await asyncio.sleep(15)
        assert condition_status(one_node(c).status, "Ready") == "True"


@virtual_time
async def test_the_pods_of_a_deleted_node_are_deleted_and_replaced() -> None:
    async with cluster(node_grace_seconds=1000.0) as c:
        c.api.seed(node(), lease("node-1"))
        await c.client.create(replica_set(replicas=2))
        await c.until(lambda: len(c.ready_pods()) == 2)
        before = {p.metadata.uid for p in c.active_pods()}
        last_words: dict[str, core.PodStatus] = {}
        ends = Informer(c.client, core.Pod)

        def note(old: core.Pod | None, new: core.Pod | None) -> None:
            if new is None and old is not None:
                last_words[old.metadata.uid] = old.status

        ends.on_change(note)
        following = asyncio.create_task(ends.run())
        await ends.wait_synced()
        c.kubelet.node = "node-2"
        c.api.seed(node("node-2"))
        await c.client.delete(core.Node, "node-1")
        await c.until(lambda: len(c.ready_pods()) == 2 and not before & {p.metadata.uid for p in c.api.all(core.Pod)}, 70)
        await c.until(lambda: last_words.keys() == before, 1)
        told = [(status.phase, condition_of(status, "DisruptionTarget").reason) for status in last_words.values()]
        assert told == [("Failed", "DeletionByPodGC")] * 2
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


@virtual_time
async def test_finished_pods_beyond_the_threshold_go_oldest_first() -> None:
    async with cluster(kubelet=False, terminated_pod_threshold=3, pod_gc_seconds=1.0) as c:
        c.api.seed(node())
        for number in range(5):
            finished = pod(f"job-{number}", node="node-1", phase="Succeeded")
            finished.metadata.creation_timestamp.seconds = number + 1
            c.api.seed(finished)
        await c.until(lambda: len(c.api.all(core.Pod)) == 3)
        assert [p.metadata.name for p in c.api.all(core.Pod)] == ["job-2", "job-3", "job-4"]


@virtual_time
async def test_pods_of_a_node_that_is_out_of_service_are_let_go() -> None:
    async with cluster(kubelet=False, node_grace_seconds=1000.0, pod_gc_seconds=1.0) as c:
        stuck, alive = (pod(name, node="node-1", phase="Running") for name in ("stuck", "alive"))
        for patient in (stuck, alive):
            patient.spec.tolerations.add(operator="Exists")
        c.api.seed(node(ready="False"), stuck, alive)
        ends = dict[str, str]()
        watched = Informer(c.client, core.Pod)
        watched.on_change(lambda old, new: ends.update({old.metadata.name: old.status.phase}) if new is None and old is not None else None)
        following = asyncio.create_task(watched.run())
        await watched.wait_synced()
        await c.client.delete(core.Pod, "stuck", "default")
        await asyncio.sleep(5)
        assert len(c.api.all(core.Pod)) == 2
        await c.edit(
            core.Node, "node-1", lambda found: found.spec.taints.add(key="node.kubernetes.io/out-of-service", effect="NoSchedule"), ""
        )
        await c.until(lambda: [found.metadata.name for found in c.api.all(core.Pod)] == ["alive"], 5)
        await c.until(lambda: ends == {"stuck": "Failed"}, 1)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


@virtual_time
async def test_of_pods_whose_kubelet_speaks_nobody_else_says_that_they_are_not_ready() -> None:
    """It would put that right, and so on, for as long as its engine is away."""
    async with cluster(kubelet=False) as c:
        served = pod("served", node="node-1", phase="Running", ready=True)
        served.spec.tolerations.add(operator="Exists")
        kubelet = Informer(c.client, core.Pod)

        async def put_right() -> None:
            def ready(obj: core.Pod) -> None:
                condition_of(obj.status, "Ready").status = "True"

            await c.edit(core.Pod, "served", ready, subresource="status")

        writes: list[asyncio.Task[None]] = []
        kubelet.on_change(lambda _, new: writes.append(asyncio.create_task(put_right())) if new and not is_ready(new) else None)
        following = asyncio.create_task(kubelet.run())
        await kubelet.wait_synced()
        c.api.latency_seconds = 0.01
        c.api.seed(node(ready="False"), lease("node-1"), served)
        await asyncio.sleep(3)
        assert not writes
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


@virtual_time
async def test_a_pod_that_may_not_be_deleted_keeps_no_others_on_a_silent_node(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_deletion(monkeypatch, "a")
    async with cluster(kubelet=False) as c, beating(c, "node-2"):
        hasty, refused, patient = (pod(name, node="node-1", phase="Running") for name in ("b", "a", "c"))
        patient.spec.tolerations.add(key="node.kubernetes.io/not-ready", operator="Exists", effect="NoExecute", toleration_seconds=20)
        c.api.seed(node(ready="False"), lease("node-1"), refused, hasty, patient)

        def going() -> list[str]:
            return [found.metadata.name for found in c.api.all(core.Pod) if is_deleting(found)]

        await asyncio.sleep(1)
        assert going() == ["b"]
        await c.until(lambda: going() == ["b", "c"], 21)
        monkeypatch.undo()
        await c.until(lambda: going() == ["a", "b", "c"], 6)


@virtual_time
async def test_garbage_that_may_not_be_deleted_keeps_no_other_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_deletion(monkeypatch, "job-0")
    async with cluster(kubelet=False, terminated_pod_threshold=1, pod_gc_seconds=10.0) as c:
        c.api.seed(node())
        for number in range(4):
            finished = pod(f"job-{number}", node="node-1", phase="Succeeded")
            finished.metadata.creation_timestamp.seconds = number + 1
            c.api.seed(finished)
        await c.until(lambda: [found.metadata.name for found in c.api.all(core.Pod)] == ["job-0", "job-3"], 11)
        monkeypatch.undo()
        await c.until(lambda: [found.metadata.name for found in c.api.all(core.Pod)] == ["job-3"], 11)
