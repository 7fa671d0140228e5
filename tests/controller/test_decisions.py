"""Small decisions told one by one: ranking, limits, hashes, revisions, expectations."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.times import to_time
from knarr.objects.keys import Key
from services.controller.controllers.deployment.limits import Limits, limits
from services.controller.controllers.deployment.revision import HISTORY, REVISION, carry_annotations
from services.controller.controllers.deployment.template import template_hash
from services.controller.controllers.podgc.decide import decide as decide_garbage
from services.controller.expectations import LAPSE_SECONDS, Expectations, created
from services.controller.workloads.ranking import deletion_cost, rank_for_deletion
from services.controller.workloads.replicas import Replicated, decide, reader
from tests.controller.objects import deployment, pod, replica_set, replication_controller, template
from tests.support.virtual_time import virtual_time

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def running(name: str, *, node: str = "node-1", ready: bool = True, age: float = 100, ready_age: float = 90, restarts: int = 0) -> core.Pod:
    result = pod(name, node=node, phase="Running", ready=ready)
    result.metadata.creation_timestamp.CopyFrom(to_time(NOW - timedelta(seconds=age)))
    result.status.conditions[0].last_transition_time.CopyFrom(to_time(NOW - timedelta(seconds=ready_age)))
    result.status.container_statuses.add(name="app", restart_count=restarts)
    return result


def test_the_most_dispensable_pod_goes_first() -> None:
    cheap = running("cheap")
    cheap.metadata.annotations["controller.kubernetes.io/pod-deletion-cost"] = "-5"
    pods = [
        running("old"),
        running("young", age=10),
        running("restarted", restarts=3),
        running("just-ready", ready_age=5),
        running("crowded", node="node-2"),
        cheap,
        running("not-ready", ready=False),
        pod("pending", node="node-1"),
        pod("unscheduled"),
    ]
    neighbours = [running(f"neighbour-{number}", node="node-2") for number in range(9)]
    names = [found.metadata.name for found in rank_for_deletion(pods, [*pods, *neighbours], NOW)]
    assert names == ["unscheduled", "pending", "not-ready", "cheap", "crowded", "just-ready", "restarted", "young", "old"]


def test_pods_that_are_about_as_old_are_as_dispensable_and_their_uids_decide() -> None:
    """So that those of one node or zone, which came a moment later, do not all go first."""
    ready = [running(f"{number}", age=100, ready_age=70 + number) for number in (3, 1, 2)]
    made = [running(f"{number}", ready=False, age=130 + number) for number in (3, 1, 2)]
    for pods in (ready, made):
        assert [found.metadata.name for found in rank_for_deletion(pods, pods, NOW)] == ["1", "2", "3"]
    ahead = running("ahead", ready_age=-5)
    assert rank_for_deletion([*ready, ahead], ready, NOW)[0] is ahead


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("7", 7),
        ("-7", -7),
        ("0", 0),
        ("", 0),
        ("+7", 0),
        ("07", 0),
        ("1_0", 0),
        (" 7", 0),
        ("٧", 0),
        ("2147483648", 0),
        ("-2147483648", -(2**31)),
    ],
)
def test_a_deletion_cost_is_a_number_of_32_bits(text: str, cost: int) -> None:
    found = pod("web")
    found.metadata.annotations["controller.kubernetes.io/pod-deletion-cost"] = text
    assert deletion_cost(found) == cost


def test_nothing_is_made_or_removed_while_own_writes_are_unseen() -> None:
    plan = decide(replica_set(replicas=5), [], [], now=NOW, burst=500, settled=False)
    assert (plan.create, list(plan.delete)) == (0, [])
    assert decide(replica_set(replicas=5), [], [], now=NOW, burst=3, settled=True).create == 3


@pytest.mark.parametrize(
    "target", [replica_set(min_ready=30), replication_controller(min_ready=30)], ids=["ReplicaSet", "ReplicationController"]
)
def test_status_counts_and_says_when_it_will_change(target: Replicated) -> None:
    odd = running("odd", ready=False)
    odd.metadata.labels.clear()
    going = running("going")
    going.metadata.deletion_timestamp.seconds = 1
    ended = pod("ended", phase="Failed")
    ended.metadata.deletion_timestamp.seconds = 1
    pods = [running("a", ready_age=30), running("b", ready_age=10), odd, going, ended, pod("done", phase="Failed")]
    plan = decide(target, [*map(reader(target), pods)], pods, now=NOW, burst=500, settled=True)
    status = plan.status
    counts = (status.replicas, status.fully_labeled_replicas, status.ready_replicas, status.available_replicas)
    assert counts == (3, 2, 2, 1)
    assert not isinstance(status, apps.ReplicaSetStatus) or status.terminating_replicas == 1
    assert plan.again_seconds == 20


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "wanted"),
    [
        (3, "25%", "25%", Limits(1, 0)),
        (10, "25%", "25%", Limits(3, 2)),
        (1, "0%", "10%", Limits(0, 1)),
        (4, 0, 0, Limits(0, 1)),
        (2, 1, 5, Limits(1, 2)),
        (100, "29%", "29%", Limits(29, 29)),
    ],
)
def test_surge_rounds_up_and_unavailable_down(replicas: int, surge: int | str, unavailable: int | str, wanted: Limits) -> None:
    assert limits(deployment(replicas=replicas, surge=surge, unavailable=unavailable).spec) == wanted


def test_a_templates_hash_depends_on_what_it_means_only() -> None:
    first, second = template(), template()
    second.metadata.creation_timestamp.SetInParent()
    second.spec.containers[0].resources.SetInParent()
    second.metadata.labels["pod-template-hash"] = "abc"
    assert template_hash(first, 0) == template_hash(second, 0)
    assert template_hash(first, 0) != template_hash(first, 1)
    assert template_hash(first, 0) != template_hash(template("app:2"), 0)
    # Stable from release to release: it is part of names that people have written down.
    assert template_hash(first, 0) == "6789b497f4"


def test_a_reused_replica_set_remembers_its_revisions() -> None:
    target, found = deployment(), replica_set()
    target.metadata.annotations.update({"kubernetes.io/change-cause": "because", REVISION: "9"})
    for revision in (1, 3, 7):
        carry_annotations(target, found, revision)
    assert found.metadata.annotations[REVISION] == "7"
    assert found.metadata.annotations[HISTORY] == "1,3"
    assert found.metadata.annotations["kubernetes.io/change-cause"] == "because"


def test_pods_that_nobody_will_finish_are_garbage() -> None:
    unscheduled = pod("unscheduled")
    unscheduled.metadata.deletion_timestamp.seconds = 1
    found = decide_garbage([pod("kept", node="node-1"), pod("lost", node="gone"), unscheduled], {"gone"}, 0)
    assert [garbage.pod.metadata.name for garbage in found] == ["lost", "unscheduled"]


def test_evicted_pods_go_before_others_that_have_finished() -> None:
    old, evicted = pod("old", phase="Succeeded"), pod("evicted", phase="Failed")
    old.metadata.creation_timestamp.seconds, evicted.metadata.creation_timestamp.seconds = 1, 2
    evicted.status.reason = "Evicted"
    assert [garbage.pod.metadata.name for garbage in decide_garbage([old, evicted], set(), 1)] == ["evicted"]


@virtual_time
async def test_an_expectation_that_is_never_met_lapses() -> None:
    expectations, key = Expectations(), Key("default", "web")
    expectations.expect(key, created("web-1"))
    expectations.expect(key, created("web-2"))
    expectations.met(key, created("web-1"))
    assert expectations.open(key) == 1
    await asyncio.sleep(LAPSE_SECONDS + 1)
    assert expectations.open(key) == 0
