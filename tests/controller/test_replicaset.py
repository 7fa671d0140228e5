"""The ReplicaSet controller on the API server in memory."""

from __future__ import annotations

import asyncio

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import status_error
from knarr.objects.owners import controller_key, controller_of
from tests.controller.cluster import cluster
from tests.controller.objects import condition_of, node, pod, replica_set
from tests.support.virtual_time import virtual_time


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


@virtual_time
async def test_it_adopts_what_matches_and_releases_what_does_not() -> None:
    async with cluster() as c:
        c.api.seed(node(), pod("stray", node="node-1", phase="Running", ready=True))
        await c.client.create(replica_set(replicas=2))
        await c.until(lambda: len(c.ready_pods()) == 2)
        stray = next(p for p in c.ready_pods() if p.metadata.name == "stray")
        assert controller_key(stray, apps.ReplicaSet) == ("default", "web")

        def relabel(obj: core.Pod) -> None:
            obj.metadata.labels["app"] = "debug"

        await c.edit(core.Pod, "stray", relabel)
        await c.until(lambda: len(c.ready_pods()) == 3)
        released = next(p for p in c.api.all(core.Pod) if p.metadata.name == "stray")
        assert controller_of(released) is None


@virtual_time
async def test_a_refused_create_is_told_and_tried_again() -> None:
    async with cluster() as c:
        c.api.seed(node())
        error = status_error("Forbidden", "exceeded quota")
        c.api.fail_next(error, verb="create", message_type=core.Pod, times=6)
        await c.client.create(replica_set())
        await c.until(lambda: len(c.api.all(apps.ReplicaSet)[0].status.conditions) == 1)
        condition = condition_of(c.api.all(apps.ReplicaSet)[0].status, "ReplicaFailure")
        assert (condition.reason, condition.message) == ("FailedCreate", "exceeded quota")
        await c.until(lambda: len(c.ready_pods()) == 3)
        await c.until(lambda: not c.api.all(apps.ReplicaSet)[0].status.conditions)
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
