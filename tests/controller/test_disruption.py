"""Disruption budgets and what is said of pods that are to be disrupted."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from knarr.api.apiextensions.v1 import apiextensions_pb2 as apiextensions
from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.policy.v1 import policy_pb2 as policy
from knarr.machinery.errors import TooManyRequests, status_error
from knarr.machinery.times import to_time
from knarr.objects.conditions import get_condition, set_condition
from services.controller.controllers.disruption.controller import RETRY_SECONDS, DisruptionController
from services.controller.controllers.disruption.decide import DELETION_SECONDS, Expected, decide, expected, failed
from services.controller.controllers.replicaset.controller import ReplicaSetController
from services.controller.controllers.staledisruption.controller import StaleDisruptionController
from services.controller.controllers.staledisruption.decide import STALE_SECONDS, claims, seconds_left
from tests.controller.cluster import Cluster, cluster
from tests.controller.objects import amount, condition_of, deployment, owned, pod, replica_set
from tests.support.virtual_time import virtual_time

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def budget(*, least: int | str | None = None, most: int | str | None = None, name: str = "b") -> policy.PodDisruptionBudget:
    made = policy.PodDisruptionBudget()
    made.metadata.name, made.metadata.namespace, made.metadata.generation = name, "default", 1
    made.spec.selector.match_labels["app"] = "web"
    if least is not None:
        made.spec.min_available.CopyFrom(amount(least))
    if most is not None:
        made.spec.max_unavailable.CopyFrom(amount(most))
    return made


def running(name: str, *, ready: bool = True) -> core.Pod:
    return pod(name, node="node-1", phase="Running", ready=ready)


@pytest.mark.parametrize(
    ("least", "most", "scales", "wanted"),
    [
        # A number of pods is of those that there are; a part is of those that are wished.
        (2, None, {}, Expected(3, 2)),
        ("50%", None, {"a": 5}, Expected(5, 3)),
        ("50%", None, {"a": 5, "b": 2}, Expected(7, 4)),
        ("100%", None, {"a": 5}, Expected(5, 5)),
        (None, 1, {"a": 5}, Expected(5, 4)),
        (None, "30%", {"a": 5}, Expected(5, 3)),
        (None, 9, {"a": 5}, Expected(5, 0)),
        (None, None, {}, Expected(0, 0)),
    ],
)
def test_what_is_expected(least: int | str | None, most: int | str | None, scales: dict[str, int], wanted: Expected) -> None:
    assert expected(budget(least=least, most=most), [running("a"), running("b"), running("c")], scales) == wanted


def test_what_may_be_disrupted_is_what_is_healthy_beyond_what_must_be() -> None:
    going = running("going")
    going.metadata.deletion_timestamp.seconds = 1
    pods = [running("a"), running("b"), running("c"), running("unready", ready=False), going]
    for healthy, allowed in ((2, 1), (3, 0), (4, 0)):
        status = decide(budget(least=healthy), pods, Expected(5, healthy), NOW).status
        assert (status.current_healthy, status.desired_healthy, status.expected_pods, status.disruptions_allowed) == (
            3,
            healthy,
            5,
            allowed,
        )
        said = condition_of(status, "DisruptionAllowed")
        assert (said.status, said.reason) == (("True", "SufficientPods") if allowed else ("False", "InsufficientPods"))
        assert (said.observed_generation, status.observed_generation) == (1, 1)


def test_nothing_may_be_disrupted_where_nothing_is_expected() -> None:
    """Pods may come before they are counted."""
    assert decide(budget(least=0), [running("a")], Expected(0, 0), NOW).status.disruptions_allowed == 0


def test_a_granted_eviction_counts_as_a_disruption_until_the_pod_goes_or_too_much_time_has_passed() -> None:
    target = budget(least=1)
    target.status.disrupted_pods["a"].CopyFrom(to_time(NOW - timedelta(seconds=20)))
    target.status.disrupted_pods["b"].CopyFrom(to_time(NOW - timedelta(seconds=DELETION_SECONDS)))
    target.status.disrupted_pods["gone"].CopyFrom(to_time(NOW))
    target.status.disrupted_pods["going"].CopyFrom(to_time(NOW))
    going = running("going")
    going.metadata.deletion_timestamp.seconds = 1
    plan = decide(target, [running("a"), running("b"), running("c"), going], Expected(4, 1), NOW)
    assert list(plan.status.disrupted_pods) == ["a"] and plan.status.current_healthy == 2
    assert [found.metadata.name for found in plan.overdue] == ["b"]
    assert plan.again_seconds == DELETION_SECONDS - 20


def test_what_is_not_known_is_not_allowed() -> None:
    target = budget(least=1)
    target.status.disruptions_allowed, target.status.observed_generation = 3, 7
    status = failed(target, "no idea", NOW)
    said = condition_of(status, "DisruptionAllowed")
    assert status.disruptions_allowed == 0
    assert (said.status, said.reason, said.message, said.observed_generation) == ("False", "SyncFailed", "no idea", 7)


async def stored(c: Cluster, name: str = "b") -> policy.PodDisruptionBudget:
    return await c.client.get(policy.PodDisruptionBudget, name, "default")


async def counts(c: Cluster) -> tuple[int, int, int, int]:
    """Healthy, to be healthy, expected, allowed."""
    status = (await stored(c)).status
    return status.current_healthy, status.desired_healthy, status.expected_pods, status.disruptions_allowed


async def evict(c: Cluster, name: str) -> None:
    eviction = policy.Eviction(metadata=meta.ObjectMeta(name=name, namespace="default"))
    await c.client.create(eviction, subresource="eviction", name=name)


@virtual_time
async def test_a_drain_goes_on_as_fast_as_pods_come_back_elsewhere() -> None:
    async with cluster() as c:
        await c.client.create(deployment("web", 3))
        await c.client.create(budget(most=1))
        await c.until(lambda: len(c.ready_pods()) == 3)
        await asyncio.sleep(1)
        assert await counts(c) == (3, 2, 3, 1)
        c.kubelet.stop_seconds = 5.0
        first, second, third = (found.metadata.name for found in c.ready_pods())
        await evict(c, first)
        with pytest.raises(TooManyRequests):
            await evict(c, second)
        await c.until(lambda: len(c.ready_pods()) == 3)
        await asyncio.sleep(1)
        # The one that goes is not waited for: another one is there.
        assert await counts(c) == (3, 2, 3, 1) and not (await stored(c)).status.disrupted_pods
        await evict(c, second)
        await asyncio.sleep(10)
        await evict(c, third)


@virtual_time
async def test_an_eviction_that_came_to_nothing_is_given_back() -> None:
    """As when the API server dies between what it grants and what it does."""
    async with cluster(kubelet=False, controllers=(DisruptionController,)) as c:
        c.api.seed(running("a"), running("b"))
        await c.client.create(budget(least=1))
        await asyncio.sleep(1)
        assert await counts(c) == (2, 1, 2, 1)

        def grant(found: policy.PodDisruptionBudget) -> None:
            found.status.disrupted_pods["a"].CopyFrom(to_time(c.manager._clock.now()))
            found.status.disruptions_allowed = 0

        await c.edit(policy.PodDisruptionBudget, "b", grant, subresource="status")
        await asyncio.sleep(DELETION_SECONDS - 2)
        assert await counts(c) == (1, 1, 2, 0)
        await asyncio.sleep(4)
        assert await counts(c) == (2, 1, 2, 1)
        assert c.events("NotDeleted") == ["Pod was expected by PDB default/b to be deleted but it wasn't"]


@virtual_time
async def test_pods_of_any_kind_with_a_scale_are_counted_by_it() -> None:
    async with cluster(kubelet=False, controllers=(DisruptionController,)) as c:
        owner = await c.client.create(stateful_set(4))
        c.api.seed(owned(running("set-0"), owner), owned(running("set-1"), owner))
        await c.client.create(budget(most="50%"))
        await asyncio.sleep(1)
        assert await counts(c) == (2, 2, 4, 0)


async def failure(c: Cluster) -> str:
    """Why nothing may be disrupted."""
    said = condition_of((await stored(c)).status, "DisruptionAllowed")
    assert (said.status, said.reason) == ("False", "SyncFailed")
    return str(said.message)


def stateful_set(replicas: int) -> apps.StatefulSet:
    made = apps.StatefulSet()
    made.metadata.name, made.metadata.namespace = "set", "default"
    made.spec.replicas, made.spec.service_name = replicas, "set"
    made.spec.selector.match_labels["app"] = "web"
    made.spec.template.CopyFrom(replica_set().spec.template)
    return made


async def define(c: Cluster) -> type[Any]:
    """Fleets, whose wished size is spec.size."""
    made = apiextensions.CustomResourceDefinition()
    made.metadata.name = "fleets.example.com"
    made.spec.group, made.spec.scope = "example.com", "Namespaced"
    made.spec.names.plural, made.spec.names.kind = "fleets", "Fleet"
    version = made.spec.versions.add(name="v1", served=True, storage=True)
    version.schema.open_apiv3_schema.type = "object"
    version.schema.open_apiv3_schema.x_kubernetes_preserve_unknown_fields = True
    version.subresources.scale.spec_replicas_path = ".spec.size"
    version.subresources.scale.status_replicas_path = ".status.size"
    version.subresources.scale.label_selector_path = ".status.selector"
    await c.client.create(made)
    await asyncio.sleep(1)
    fleet = next(resource.storage.message for resource in await c.client.resources() if resource.plural == "fleets")
    # Its rules are made aside when it is first asked for, which virtual time does not wait for.
    await c.client.list(fleet)
    return fleet


@virtual_time
async def test_custom_resources_are_counted_by_their_scale() -> None:
    async with cluster(kubelet=False, controllers=(DisruptionController,)) as c:
        wanted: Any = (await define(c))()
        wanted.metadata.name, wanted.metadata.namespace, wanted.content = "f", "default", {"spec": {"size": 2}}
        made: Any = await c.client.create(wanted)
        held = running("a")
        reference = held.metadata.owner_references.add(api_version="example.com/v1", kind="Fleet", name="f", uid="another", controller=True)
        c.api.seed(held)
        await c.client.create(budget(most=1))
        await asyncio.sleep(1)
        assert await failure(c) == 'found no controllers for pod "a"'
        reference.uid = made.metadata.uid
        await c.edit(core.Pod, "a", lambda found: found.metadata.owner_references[0].CopyFrom(reference))
        await asyncio.sleep(1)
        assert await counts(c) == (1, 1, 2, 0)


@virtual_time
async def test_pods_of_a_controller_of_an_unknown_kind_are_held() -> None:
    async with cluster(kubelet=False, controllers=(DisruptionController,)) as c:
        held = running("a")
        held.metadata.owner_references.add(api_version="example.com/v1", kind="Fleet", name="f", uid="u", controller=True)
        c.api.seed(held)
        await c.client.create(budget(most=1))
        await asyncio.sleep(1)
        assert await failure(c) == 'no matches for kind "Fleet" in version "example.com/v1"'
        assert c.events("CalculateExpectedPodCountFailed")
        with pytest.raises(TooManyRequests):
            await evict(c, "a")


@virtual_time
async def test_what_could_not_be_learned_is_asked_again() -> None:
    async with cluster(kubelet=False, controllers=(DisruptionController,)) as c:
        owner = await c.client.create(stateful_set(2))
        c.api.seed(owned(running("set-0"), owner), owned(running("set-1"), owner))
        c.api.fail_next(status_error("ServiceUnavailable", "not now"), verb="get", message_type=apps.StatefulSet, times=2)
        await c.client.create(budget(most=1))
        await asyncio.sleep(1)
        assert await failure(c) == "not now"
        await asyncio.sleep(RETRY_SECONDS + 1)
        assert await counts(c) == (2, 1, 2, 1)


@virtual_time
async def test_a_controller_that_has_no_scale_is_named() -> None:
    async with cluster(kubelet=False, controllers=(DisruptionController,)) as c:
        made = batch.Job()
        made.metadata.name, made.metadata.namespace = "j", "default"
        made.spec.template.CopyFrom(replica_set().spec.template)
        made.spec.template.spec.restart_policy = "Never"
        c.api.seed(owned(running("a"), await c.client.create(made)))
        await c.client.create(budget(most=1))
        await asyncio.sleep(1)
        assert await failure(c) == "jobs.batch does not implement the scale subresource"


@virtual_time
async def test_pods_that_nobody_would_replace_are_told_of_and_counted_by_number() -> None:
    async with cluster(kubelet=False, controllers=(DisruptionController,)) as c:
        c.api.seed(running("a"), running("b"))
        await c.client.create(budget(most=1))
        await asyncio.sleep(1)
        assert await counts(c) == (2, 0, 0, 0)
        assert any(
            message.startswith("Pods selected by this PodDisruptionBudget (selector: app=web)") for message in c.events("UnmanagedPods")
        )


@virtual_time
async def test_budgets_that_are_about_the_same_pod_are_told_of() -> None:
    async with cluster(kubelet=False, controllers=(DisruptionController,)) as c:
        await c.client.create(budget(least=1, name="one"))
        await c.client.create(budget(least=1, name="two"))
        assert c.events("MultiplePodDisruptionBudgets") == []
        await asyncio.sleep(1)
        c.api.seed(running("a"))
        await asyncio.sleep(1)
        assert c.events("MultiplePodDisruptionBudgets") == [
            'Pod "default/a" matches multiple PodDisruptionBudgets: "one", "two". It cannot be evicted until one is left.'
        ]


@virtual_time
async def test_a_budget_without_pods_says_so_and_follows_its_selector() -> None:
    async with cluster(controllers=(DisruptionController, ReplicaSetController)) as c:
        await c.client.create(budget(least=1))
        await asyncio.sleep(1)
        assert await counts(c) == (0, 1, 0, 0) and c.events("NoPods") == ["No matching pods found"]
        await c.client.create(replica_set("web", 2))
        await c.until(lambda: len(c.ready_pods()) == 2)
        await asyncio.sleep(1)
        assert await counts(c) == (2, 1, 2, 1)
        leaving = c.ready_pods()[0].metadata.name
        await c.edit(core.Pod, leaving, lambda found: found.metadata.labels.update(app="other"))
        await asyncio.sleep(5)
        assert await counts(c) == (2, 1, 2, 1)


def disrupted(reason: str = "EvictionByEvictionAPI") -> core.Pod:
    made = running("a")
    set_condition(made.status, "DisruptionTarget", True, reason=reason, now=NOW)
    return made


def test_who_claims_to_go() -> None:
    assert claims(disrupted()) and seconds_left(disrupted(), NOW + timedelta(seconds=20)) == STALE_SECONDS - 20
    assert seconds_left(disrupted(), NOW + timedelta(days=1)) == 0
    ended, going = disrupted(), disrupted()
    ended.status.phase, going.metadata.deletion_timestamp.seconds = "Failed", 1
    assert not any(map(claims, (ended, going, disrupted("TerminationByKubelet"), running("b"))))


@virtual_time
async def test_a_pod_that_was_to_go_and_stays_says_so_no_more() -> None:
    async with cluster(kubelet=False, controllers=(StaleDisruptionController,)) as c:
        c.api.seed(running("a"))

        def say(found: core.Pod) -> None:
            set_condition(found.status, "DisruptionTarget", True, reason="EvictionByEvictionAPI", now=c.manager._clock.now())

        await c.edit(core.Pod, "a", say, subresource="status")
        await asyncio.sleep(STALE_SECONDS - 2)
        for wanted in ("True", "False"):
            said = get_condition((await c.client.get(core.Pod, "a", "default")).status, "DisruptionTarget")
            assert said is not None and said.status == wanted
            await asyncio.sleep(4)
