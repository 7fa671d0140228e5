"""The controllers of ReplicaSets and ReplicationControllers on the API server in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import status_error
from knarr.objects.owners import controller_key, controller_of
from services.controller.controllers.replicaset.controller import ReplicaSetController
from services.controller.workloads.controller import GATHERED_SECONDS
from services.controller.workloads.replicas import Replicated
from tests.controller.cluster import cluster
from tests.controller.objects import condition_of, deployment, namespace, node, pod, replica_set, replication_controller
from tests.controller.scenarios.steps import alone, step
from tests.support.mishaps import Kind, Mishap, World, play
from tests.support.virtual_time import virtual_time

KINDS = {"ReplicaSet": replica_set, "ReplicationController": replication_controller}
both = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


@virtual_time
async def test_it_makes_what_is_missing_and_replaces_what_is_deleted() -> None:
    async with cluster() as c:
        c.api.seed(node())
        await c.client.create(replica_set())
        await c.until(lambda: len(c.ready_pods()) == 3)
        victim = c.ready_pods()[0]
        await c.client.delete(core.Pod, victim.metadata.name, "default")
        await c.until(lambda: len(c.ready_pods()) == 3 and victim.metadata.uid not in {p.metadata.uid for p in c.ready_pods()}, 1)
        await c.until(lambda: len(c.events("SuccessfulCreate")) >= 1)
        told = next(event for event in c.api.all(core.Event) if event.reason == "SuccessfulCreate")
        assert (told.source.component, told.reporting_component) == ("replicaset-controller",) * 2


@virtual_time
async def test_a_slow_cache_never_makes_too_many() -> None:
    async with cluster() as c:
        c.api.seed(node())
        c.api.latency_seconds = 0.2
        await c.client.create(replica_set(replicas=10))
        for _ in range(200):
            await asyncio.sleep(0.05)
            assert len(c.api.all(core.Pod)) <= 10
        assert len(c.ready_pods()) == 10


class SlowlyAdopting(ReplicaSetController):
    async def claimed(self, *arguments: Any, **options: Any) -> list[Any]:
        found: list[Any] = await super().claimed(*arguments, **options)
        await asyncio.sleep(3)
        return found


def test_what_is_seen_while_it_adopts_makes_no_older_list_of_pods_whole() -> None:
    async def act(w: World) -> None:
        # The first pod is made before the others, and shown before them.
        w.api.latency_seconds = 0.2
        await w.client.create(replica_set(replicas=3))
        await step()

    found = play(alone(SlowlyAdopting, act), Mishap(Kind.BEHIND, late="Pod"))
    assert len([write for write in found.writes if write.startswith("create Pod")]) == 3


@both
@virtual_time
async def test_it_adopts_what_matches_and_releases_what_does_not(make: Callable[..., Replicated]) -> None:
    async with cluster() as c:
        c.api.seed(node(), pod("stray", node="node-1", phase="Running", ready=True))
        owner = await c.client.create(make(replicas=2))
        await c.until(lambda: len(c.ready_pods()) == 2)
        stray = next(p for p in c.ready_pods() if p.metadata.name == "stray")
        assert controller_key(stray, type(owner)) == ("default", "web")

        def relabel(obj: core.Pod) -> None:
            obj.metadata.labels["app"] = "debug"

        await c.edit(core.Pod, "stray", relabel)
        await c.until(lambda: len(c.ready_pods()) == 3)
        released = next(p for p in c.api.all(core.Pod) if p.metadata.name == "stray")
        assert controller_of(released) is None


@both
@virtual_time
async def test_a_refused_create_is_told_and_tried_again(make: Callable[..., Replicated]) -> None:
    async with cluster() as c:
        c.api.seed(node())
        error = status_error("Forbidden", "exceeded quota")
        c.api.fail_next(error, verb="create", message_type=core.Pod, times=6)
        kind = type(await c.client.create(make()))
        await c.until(lambda: len(c.api.all(kind)[0].status.conditions) == 1)
        condition = condition_of(c.api.all(kind)[0].status, "ReplicaFailure")
        assert (condition.reason, condition.message) == ("FailedCreate", "exceeded quota")
        await c.until(lambda: len(c.ready_pods()) == 3)
        await c.until(lambda: not c.api.all(kind)[0].status.conditions)
        assert c.events("FailedCreate") == ["Error creating: exceeded quota"]


@virtual_time
async def test_a_create_whose_reply_is_lost_is_not_made_twice() -> None:
    async with cluster() as c:
        c.api.seed(node())
        lost = status_error("ServiceUnavailable", "the connection was lost")
        c.api.fail_next(lost, verb="create", message_type=core.Pod, after=True)
        await c.client.create(replica_set())
        await c.until(lambda: len(c.ready_pods()) == 3)
        await asyncio.sleep(5)
        assert len(c.api.all(core.Pod)) == 3


@virtual_time
async def test_a_create_whose_outcome_is_not_known_is_looked_up_before_another_pod_is_made() -> None:
    """The watch that would tell of it is broken for a while."""
    async with cluster() as c:
        c.api.seed(node())
        lost = status_error("Timeout", "it is not known whether the write was stored")
        c.api.fail_next(lost, verb="create", message_type=core.Pod, after=True)
        c.api.fail_next(status_error("ServiceUnavailable", "away"), verb="watch", message_type=core.Pod, times=3)
        c.api.break_watches()
        await c.client.create(replica_set())
        await c.until(lambda: len(c.ready_pods()) == 3)
        made = [write for write in c.api.writes if write.verb == "create" and write.message_type is core.Pod and not write.subresource]
        assert len(made) == 3


@virtual_time
async def test_availability_waits_for_min_ready_seconds() -> None:
    async with cluster() as c:
        c.api.seed(node())
        await c.client.create(replica_set(min_ready=20))
        await c.until(lambda: c.api.all(apps.ReplicaSet)[0].status.ready_replicas == 3)
        assert c.api.all(apps.ReplicaSet)[0].status.available_replicas == 0
        await c.until(lambda: c.api.all(apps.ReplicaSet)[0].status.available_replicas == 3, 25)


@virtual_time
async def test_a_status_written_from_a_cache_that_lags_is_settled_without_an_error() -> None:
    async with cluster() as c:
        c.api.seed(node())
        conflict = status_error("Conflict", "the object has been modified")
        c.api.fail_next(conflict, verb="update", message_type=apps.ReplicaSet, times=1)
        await c.client.create(replica_set())
        await c.until(lambda: c.api.all(apps.ReplicaSet)[0].status.ready_replicas == 3)
        assert c.manager.queues["replicaset"].status().errors == 0


@both
@virtual_time
async def test_it_is_as_large_as_its_scale_says(make: Callable[..., Replicated]) -> None:
    async with cluster() as c:
        c.api.seed(node())
        kind = type(await c.client.create(make(replicas=1)))
        await c.until(lambda: len(c.ready_pods()) == 1)
        await c.client.patch(kind, "web", "default", patch={"spec": {"replicas": 3}}, subresource="scale")
        await c.until(lambda: len(c.ready_pods()) == 3)
        await c.until(lambda: c.api.all(kind)[0].status.available_replicas == 3)
        scale = await c.client.scale(kind, "web", "default")
        assert (scale.spec.replicas, scale.status.replicas, scale.status.selector) == (3, 3, "app=web")
        await c.client.patch(kind, "web", "default", patch={"spec": {"replicas": 0}}, subresource="scale")
        await c.until(lambda: not c.api.all(core.Pod) and c.api.all(kind)[0].status.replicas == 0)


@virtual_time
async def test_pods_that_terminate_are_counted_until_they_are_gone() -> None:
    async with cluster() as c:
        c.api.seed(node())
        c.kubelet.stop_seconds = 20
        await c.client.create(deployment(replicas=2))
        await c.until(lambda: len(c.ready_pods()) == 2)
        await c.edit(apps.Deployment, "web", lambda found: setattr(found.spec, "replicas", 0))
        told = lambda: (c.replica_sets()[0].status.terminating_replicas, c.deployment().status.terminating_replicas)  # noqa: E731
        await c.until(lambda: told() == (2, 2), 5)
        assert (c.replica_sets()[0].status.replicas, c.deployment().status.replicas) == (0, 0)
        await c.until(lambda: told() == (0, 0), 30)
        assert c.deployment().status.HasField("terminating_replicas")


@virtual_time
async def test_nothing_is_said_or_tried_again_in_a_namespace_that_goes() -> None:
    async with cluster(controllers=(ReplicaSetController,)) as c:
        c.api.seed(node(), namespace("team"))
        wanted = replica_set(replicas=0)
        wanted.metadata.namespace = "team"
        wanted.metadata.finalizers.append("example.com/hold")
        await c.client.create(wanted)
        await c.client.delete(core.Namespace, "team")
        await c.edit(apps.ReplicaSet, "web", lambda found: setattr(found.spec, "replicas", 3), "team")
        await asyncio.sleep(60)
        (found,) = c.api.all(apps.ReplicaSet)
        assert (found.status.observed_generation, len(found.status.conditions)) == (2, 0)
        assert c.events("FailedCreate") == []
        assert c.manager.queues["replicaset"].status().errors == 0


@both
@virtual_time
async def test_what_a_quota_refuses_is_a_failure_until_no_more_is_wanted_than_it_allows(make: Callable[..., Replicated]) -> None:
    async with cluster() as c:
        c.api.seed(node())
        quota = core.ResourceQuota(metadata=meta.ObjectMeta(name="few", namespace="default"))
        quota.spec.hard["pods"].string = "2"
        await c.client.create(quota)
        await c.until(lambda: "pods" in c.api.all(core.ResourceQuota)[0].status.used)
        kind = type(await c.client.create(make(replicas=3)))
        await c.until(lambda: c.api.all(kind)[0].status.conditions)
        condition = condition_of(c.api.all(kind)[0].status, "ReplicaFailure")
        assert (condition.status, condition.reason) == ("True", "FailedCreate")
        assert "exceeded quota: few, requested: pods=1, used: pods=2, limited: pods=2" in condition.message
        await c.until(lambda: c.api.all(kind)[0].status.ready_replicas == 2)
        await c.client.patch(kind, "web", "default", patch={"spec": {"replicas": 2}})
        await c.until(lambda: not c.api.all(kind)[0].status.conditions, 5)


@both
@virtual_time
async def test_a_status_that_somebody_else_writes_is_mended(make: Callable[..., Replicated]) -> None:
    async with cluster() as c:
        c.api.seed(node())
        kind = type(await c.client.create(make(replicas=1)))
        await c.until(lambda: c.api.all(kind)[0].status.available_replicas == 1)
        wrong = {"status": {"readyReplicas": 0, "availableReplicas": 0}}
        found = await c.client.patch(kind, "web", "default", patch=wrong, subresource="status")
        assert found.status.available_replicas == 0
        await c.until(lambda: c.api.all(kind)[0].status.available_replicas == 1, 5)


@virtual_time
async def test_many_pods_that_become_ready_are_counted_in_batches() -> None:
    async with cluster(controllers=(ReplicaSetController,)) as c:
        c.api.seed(node())
        await c.client.create(replica_set(replicas=300))
        await c.until(lambda: c.api.all(apps.ReplicaSet)[0].status.ready_replicas == 300)
        # The kubelet starts eight at a time: it takes four seconds. Each pod changes three times.
        assert c.manager.queues["replicaset"].status().syncs < 130
        # What is to be made up for is not waited with.
        victim = c.ready_pods()[0]
        await c.client.delete(core.Pod, victim.metadata.name, "default", grace_period_seconds=0)
        await c.until(lambda: len(c.api.all(core.Pod)) == 300, 0.05)


@virtual_time
async def test_pods_that_did_not_change_are_counted_anew_by_a_template_that_did() -> None:
    async with cluster(controllers=(ReplicaSetController,)) as c:
        c.api.seed(node())
        await c.client.create(replica_set(replicas=3))
        await c.until(lambda: c.api.all(apps.ReplicaSet)[0].status.fully_labeled_replicas == 3)
        patch = {"spec": {"template": {"metadata": {"labels": {"further": "one"}}}}}
        await c.client.patch(apps.ReplicaSet, "web", "default", patch=patch)
        await c.until(lambda: c.api.all(apps.ReplicaSet)[0].status.fully_labeled_replicas == 0, 5)
        status = c.api.all(apps.ReplicaSet)[0].status
        assert (status.replicas, status.ready_replicas) == (3, 3)


@both
@virtual_time
async def test_a_loss_is_told_though_it_is_made_up_for_before_all_is_counted_again(make: Callable[..., Replicated]) -> None:
    async with cluster() as c:
        c.api.seed(node())
        kind = type(await c.client.create(make(replicas=3)))
        await c.until(lambda: c.api.all(kind)[0].status.ready_replicas == 3)
        assert c.kubelet.ready_seconds(c.ready_pods()[0]) == 0.1 < GATHERED_SECONDS
        await c.client.delete(core.Pod, c.ready_pods()[0].metadata.name, "default", grace_period_seconds=0)
        await c.until(lambda: c.api.all(kind)[0].status.ready_replicas == 2, 0.09)
        await c.until(lambda: c.api.all(kind)[0].status.ready_replicas == 3, 1)
