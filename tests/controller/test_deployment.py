"""The Deployment and ReplicaSet controllers together, on the API server in memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.conditions import condition_status, get_condition
from knarr.objects.owners import is_controlled_by
from services.controller.controllers.deployment.controller import DeploymentController
from services.controller.workloads.controller import GATHERED_SECONDS
from tests.controller.cluster import Cluster, cluster
from tests.controller.objects import condition_of, deployment, node
from tests.support.virtual_time import virtual_time

WORKLOADS = (apps.Deployment, apps.ReplicaSet)


async def _deployed(c: Cluster, **options: Any) -> None:
    c.api.seed(node())
    await c.client.create(deployment(**options))
    await c.until(lambda: _complete(c))


def _complete(c: Cluster) -> bool:
    found = c.deployment()
    status = found.status
    wanted = found.spec.replicas
    return (
        status.observed_generation >= found.metadata.generation
        and status.updated_replicas == status.replicas == status.available_replicas == wanted
        and get_condition(status, "Progressing") is not None
        and condition_of(status, "Progressing").reason == "NewReplicaSetAvailable"
    )


async def _set_image(c: Cluster, image: str) -> None:
    def change(obj: apps.Deployment) -> None:
        obj.spec.template.spec.containers[0].image = image

    await c.edit(apps.Deployment, "web", change)


@virtual_time
async def test_a_new_deployment_gets_its_replica_set_and_pods() -> None:
    async with cluster() as c:
        await _deployed(c)
        found, (replica_set,) = c.deployment(), c.replica_sets()
        assert is_controlled_by(replica_set, found)
        assert replica_set.metadata.labels["pod-template-hash"] == replica_set.metadata.name.removeprefix("web-")
        assert replica_set.metadata.annotations["deployment.kubernetes.io/desired-replicas"] == "3"
        assert replica_set.metadata.annotations["deployment.kubernetes.io/max-replicas"] == "4"
        assert found.metadata.annotations["deployment.kubernetes.io/revision"] == "1"
        assert condition_of(found.status, "Available").reason == "MinimumReplicasAvailable"
        assert len(c.ready_pods()) == 3
        await c.until(lambda: c.events("ScalingReplicaSet"))
        assert c.events("ScalingReplicaSet") == [f"Scaled up replica set {replica_set.metadata.name} from 0 to 3"]


@virtual_time
async def test_what_two_pods_that_start_together_cost_is_one_count_of_them() -> None:
    async with cluster() as c:
        await _deployed(c, replicas=2)
        await asyncio.sleep(1.0)
        told = Counter((write.verb, write.message_type, write.subresource) for write in c.api.writes if write.message_type in WORKLOADS)
        assert told == {
            ("create", apps.Deployment, ""): 1,
            ("create", apps.ReplicaSet, ""): 1,
            ("update", apps.Deployment, ""): 1,
            # What was begun, and that it is done.
            ("update", apps.Deployment, "status"): 2,
            ("update", apps.ReplicaSet, "status"): 1,
        }


@virtual_time
async def test_the_last_pod_that_is_ready_is_counted_at_once_and_those_before_it_together() -> None:
    async with cluster() as c:
        seconds = iter((1.0, 1.1, 1.2, 1.3, 2.0))
        c.kubelet.ready_seconds = lambda pod: next(seconds)
        loop = asyncio.get_running_loop()
        started = loop.time()
        await _deployed(c, replicas=5)
        assert 2.0 <= loop.time() - started < 2.0 + GATHERED_SECONDS / 2
        counted = [write.obj.status.ready_replicas for write in c.api.writes if isinstance(write.obj, apps.ReplicaSet)]
        assert [ready for ready in counted if ready] == [3, 4, 5]


@virtual_time
async def test_a_rollout_and_its_undo_reuse_the_old_replica_set() -> None:
    async with cluster() as c:
        await _deployed(c)
        await _set_image(c, "app:2")
        await c.until(lambda: _complete(c) and len(c.active_pods()) == 3)
        first, second = c.replica_sets()
        assert (first.spec.replicas, second.spec.replicas) == (0, 3)
        await _set_image(c, "app:1")
        await c.until(lambda: _complete(c) and c.deployment().metadata.annotations["deployment.kubernetes.io/revision"] == "3")
        second_again, first_again = c.replica_sets()
        assert first_again.metadata.uid == first.metadata.uid
        assert second_again.metadata.uid == second.metadata.uid
        assert first_again.metadata.annotations["deployment.kubernetes.io/revision-history"] == "1"
        assert {pod.spec.containers[0].image for pod in c.active_pods()} == {"app:1"}


@virtual_time
async def test_recreate_stops_every_old_pod_before_it_starts_a_new_one() -> None:
    async with cluster() as c:
        await _deployed(c, strategy="Recreate")
        c.kubelet.stop_seconds = 5.0
        await _set_image(c, "app:2")

        def never_both() -> bool:
            images = {pod.spec.containers[0].image for pod in c.api.all(core.Pod)}
            assert len(images) <= 1, images
            return _complete(c)

        await c.until(never_both)
        assert {pod.spec.containers[0].image for pod in c.active_pods()} == {"app:2"}


@virtual_time
async def test_recreate_needs_no_other_controller_to_see_that_no_old_pod_is_left() -> None:
    async with cluster(kubelet=False, controllers=[DeploymentController]) as c:
        await c.client.create(deployment(strategy="Recreate"))
        await c.until(lambda: len(c.replica_sets()) == 1)
        await _set_image(c, "app:2")
        await c.until(lambda: len(c.replica_sets()) == 2)
        assert [found.spec.replicas for found in c.replica_sets()] == [0, 3]


@virtual_time
async def test_a_stuck_rollout_exceeds_its_deadline_and_recovers() -> None:
    async with cluster() as c:
        await _deployed(c, deadline=30)
        c.kubelet.ready_seconds = lambda pod: None if pod.spec.containers[0].image == "app:bad" else 0.1
        await _set_image(c, "app:bad")
        await c.until(lambda: condition_of(c.deployment().status, "Progressing").reason == "ProgressDeadlineExceeded", 40)
        assert condition_status(c.deployment().status, "Progressing") == "False"
        assert len(c.ready_pods()) >= 3
        await _set_image(c, "app:3")
        await c.until(lambda: _complete(c) and len(c.active_pods()) == 3)


@virtual_time
async def test_a_paused_deployment_scales_but_does_not_roll() -> None:
    async with cluster() as c:
        await _deployed(c)

        def pause(obj: apps.Deployment) -> None:
            obj.spec.paused = True

        def change(obj: apps.Deployment) -> None:
            obj.spec.template.spec.containers[0].image = "app:2"
            obj.spec.replicas = 5

        await c.edit(apps.Deployment, "web", pause)
        await c.until(lambda: condition_of(c.deployment().status, "Progressing").reason == "DeploymentPaused")
        await c.edit(apps.Deployment, "web", change)
        await c.until(lambda: len(c.ready_pods()) == 5)
        assert {pod.spec.containers[0].image for pod in c.active_pods()} == {"app:1"}
        assert len(c.replica_sets()) == 1

        def resume(obj: apps.Deployment) -> None:
            obj.spec.paused = False

        await c.edit(apps.Deployment, "web", resume)
        await c.until(lambda: _complete(c))
        assert {pod.spec.containers[0].image for pod in c.active_pods()} == {"app:2"}


@virtual_time
async def test_old_revisions_beyond_the_limit_are_deleted() -> None:
    async with cluster() as c:
        await _deployed(c, history=2)
        for number in range(2, 7):
            await _set_image(c, f"app:{number}")
            await c.until(lambda: _complete(c))
        await c.until(lambda: len(c.replica_sets()) == 3)
        revisions = [rs.metadata.annotations["deployment.kubernetes.io/revision"] for rs in c.replica_sets()]
        assert revisions == ["4", "5", "6"]


@virtual_time
async def test_a_name_that_is_taken_counts_as_a_collision() -> None:
    async with cluster() as c:
        await _deployed(c)
        (taken,) = c.replica_sets()
        await c.client.delete(apps.Deployment, "web", "default", propagation_policy="Orphan")
        await c.until(lambda: not c.api.all(apps.Deployment) and not c.replica_sets()[0].metadata.owner_references)

        def relabel(obj: apps.ReplicaSet) -> None:
            obj.metadata.labels["app"] = "other"

        await c.edit(apps.ReplicaSet, taken.metadata.name, relabel)
        await c.client.create(deployment())
        await c.until(lambda: len(c.replica_sets()) == 2)
        assert c.deployment().status.collision_count == 1


@virtual_time
async def test_broken_watches_and_conflicts_do_not_stop_a_rollout() -> None:
    async with cluster() as c:
        await _deployed(c, replicas=6)
        c.kubelet.ready_seconds = lambda pod: 1.0
        await _set_image(c, "app:2")

        def disturb() -> bool:
            c.api.break_watches()
            c.api.compact()
            assert len(c.active_pods()) <= 8
            return _complete(c)

        await c.until(disturb, 120)
        assert len(c.active_pods()) == 6
