"""What if: the answer is what comes about where it is really done, and nothing is touched by asking."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.policy.v1 import policy_pb2 as policy
from knarr.api.scheduler.v1 import scheduler_service_pb2 as api
from knarr.api.scheduler.v1 import what_if_pb2
from knarr.machinery.errors import StatusError
from knarr.objects.copies import copy_of
from knarr.objects.keys import Key
from services.scheduler.pod_facts import PodFacts
from services.scheduler.servicer import SchedulerServicer
from services.scheduler.settings import SchedulerSettings
from services.scheduler.state import SchedulerState
from services.scheduler.what_if import MOST_WAITING, NOT_PREEMPTED, Fate, Outcome, WhatIf
from tests.scheduler.clusters import CLUSTERS, namespaces, storage_objects, web_service
from tests.scheduler.objects import Objects, node, pod
from tests.scheduler.test_component import Fixture
from tests.scheduler.test_view import snapshot
from tests.support.virtual_time import virtual_time

WORLD = Objects(*storage_objects(), *namespaces(), web_service())


def owned(name: str, cpu: str = "1", kind: str = "ReplicaSet", **rest: Any) -> core.Pod:
    found = pod(name, cpu, **rest)
    found.metadata.owner_references.add(api_version="apps/v1", kind=kind, name="web", uid="set", controller=True)
    return found


def state_of(nodes: list[core.Node], placed: list[tuple[core.Pod, str]]) -> SchedulerState:
    state = SchedulerState(SchedulerSettings(), WORLD, lambda: 0.0)
    for one in nodes:
        state.node_changed(None, one)
    for found, name in placed:
        there = copy_of(found)
        there.spec.node_name = name
        state.pod_changed(None, there)
    return state


def told(outcome: Outcome) -> list[tuple[str, str, str, str]]:
    return [(one.key.name, one.fate.value, one.source, one.target) for one in outcome.pods]


def asked(state: SchedulerState, *waiting: core.Pod, budgets: Any = ()) -> WhatIf:
    return WhatIf(state, [PodFacts.of(found) for found in waiting], budgets)


def test_a_drain_says_of_each_pod_what_becomes_of_it_and_names_budgets() -> None:
    placed = [owned("a"), owned("b", "3"), owned("d", "100m", "DaemonSet"), pod("lone", "100m"), pod("mirror", "100m"), owned("other")]
    placed[1].metadata.labels["app"] = "web"
    placed[4].metadata.annotations["kubernetes.io/config.mirror"] = "x"
    state = state_of([node("n1", "8"), node("n2", "3")], [(found, "n1") for found in placed[:5]] + [(placed[5], "n2")])
    budget, strange = policy.PodDisruptionBudget(), policy.PodDisruptionBudget()
    budget.metadata.name, budget.metadata.namespace, strange.metadata.name, strange.metadata.namespace = "web", "default", "x", "other"
    for one in (budget, strange):
        one.spec.selector.match_labels["app"] = "web"
    before = snapshot(state.table)
    outcome = asked(state, owned("w", "7"), budgets=[budget, strange]).drained("n1")
    assert told(outcome) == [
        ("d", "stays", "n1", ""),
        ("lone", "gone", "n1", ""),
        ("mirror", "stays", "n1", ""),
        ("a", "placed", "n1", "n2"),
        ("b", "waits", "n1", ""),
    ]
    assert outcome.pods[-1].reason == "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable."
    assert outcome.pods[-1].refused_by == {"NodeResourcesFit", "NodeUnschedulable"}
    assert [(one.key.name, one.allowed, one.pods) for one in outcome.budgets] == [("web", 0, ["b"])]
    assert outcome.limits == [NOT_PREEMPTED] and snapshot(state.table) == before


def test_room_that_a_deletion_makes_goes_to_who_waits() -> None:
    state = state_of([node("n1", "2")], [(owned("a"), "n1"), (pod("b", "1"), "n1")])
    waiting = owned("w", priority=5)
    assert told(asked(state, waiting).deleted(Key("default", "b"))) == [("b", "gone", "n1", ""), ("w", "placed", "", "n1")]
    # Of one that comes again the room is taken by the one of higher priority.
    assert told(asked(state, waiting).deleted(Key("default", "a"))) == [("w", "placed", "", "n1"), ("a", "waits", "n1", "")]
    assert told(asked(state, waiting).deleted(Key("default", "w"))) == [("w", "waits", "", "")]


def test_other_requests_are_judged_as_if_the_pod_came_anew() -> None:
    state = state_of([node("n1", "2"), node("n2", "4")], [(owned("a"), "n1"), (pod("b", "1"), "n2")])
    what_if, key = asked(state, owned("w", "9")), Key("default", "a")
    assert told(what_if.requested(key, "", {"cpu": "3"})) == [("a", "placed", "n1", "n2")]
    assert told(what_if.requested(key, "main", {"cpu": "4"})) == [("a", "waits", "n1", "")]
    assert told(what_if.requested(key, "", {"cpu": "", "memory": "9Gi"})) == [("a", "waits", "n1", "")]
    assert told(what_if.requested(Key("default", "w"), "", {"cpu": "2500m"})) == [("w", "placed", "", "n2")]


def test_new_nodes_take_who_waits() -> None:
    first = node("n1", "2", labels={"zone": "a"})
    first.spec.unschedulable = True
    first.spec.taints.add(key="node.kubernetes.io/unschedulable", effect="NoSchedule")
    waiting = [owned(f"w{number}", "2") for number in range(3)]
    what_if = asked(state_of([first], []), *waiting)
    found = told(what_if.added(None, "n1", 2))
    assert [name for name, *_ in found] == ["w0", "w1"] and {target for *_, target in found} == {"like-n1-0", "like-n1-1"}
    assert told(what_if.added(node("big", "8"), "", 0)) == [(f"w{number}", "placed", "", "big") for number in range(3)]


def test_who_was_promised_a_node_counts_there() -> None:
    state = state_of([node("n1", "1"), node("n2", "1")], [(pod("low", "1"), "n2")])
    urgent = pod("urgent", "1", priority=10)
    urgent.status.nominated_node_name = "n1"
    state.pod_changed(None, urgent)
    outcome = asked(state, urgent, owned("w")).deleted(Key("default", "low"))
    assert told(outcome) == [("low", "gone", "n2", ""), ("w", "placed", "", "n2")]
    assert told(asked(state, urgent).drained("n1")) == [("urgent", "waits", "n1", "")]


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda one: one.drained("n9"), 'nodes "n9" not found'),
        (lambda one: one.deleted(Key("default", "x")), 'pods "x" in namespace "default" neither wait here nor are on a node'),
        (lambda one: one.requested(Key("default", "a"), "side", {}), 'the pod has no container "side"; it has main'),
        (lambda one: one.requested(Key("default", "a"), "", {"cpu": "much"}), "set_requests.requests[cpu]: quantities must match"),
        (
            lambda one: one.requested(Key("default", "a"), "", {"cpu": "-1"}),
            "set_requests.requests[cpu]: must be greater than or equal to 0",
        ),
        (lambda one: one.added(None, "", 1), "either node or like must be given"),
        (lambda one: one.added(core.Node(), "", 1), "add_node.node.metadata.name: Required value"),
        (lambda one: one.added(node("n1"), "", 1), 'there is a node "n1" already'),
        (lambda one: one.added(node("n3"), "", 9999), "count: 9999 are more than 500"),
    ],
)
def test_what_cannot_be_asked_is_said(ask: Any, words: str) -> None:
    with pytest.raises(StatusError) as error:
        ask(asked(state_of([node("n1")], [(owned("a"), "n1")])))
    assert words in error.value.status.message


def test_of_many_that_wait_so_many_are_judged_and_that_is_said() -> None:
    waiting = [owned(f"w{number}", "8") for number in range(MOST_WAITING + 7)]
    outcome = asked(state_of([node("n1")], []), *waiting).added(None, "n1", 1)
    assert not outcome.pods and "7 more pods that wait are not judged" in outcome.limits


@given(CLUSTERS)
@settings(max_examples=60, deadline=None)
def test_it_is_what_comes_about_where_it_is_done(cluster: Any) -> None:
    nodes, placed, _ = cluster
    if not nodes:
        return
    name = nodes[0].metadata.name
    pods = [(facts.pod, at) for facts, at in placed]
    state = state_of(nodes, pods)
    before = snapshot(state.table)
    outcome = asked(state).drained(name)
    assert snapshot(state.table) == before
    real = state_of(nodes, pods)
    cordoned = copy_of(nodes[0])
    cordoned.spec.unschedulable = True
    real.node_changed(nodes[0], cordoned)
    there = {facts.key: facts for facts in real.table.pods_of(name).values()}
    kept = {one.key for one in outcome.pods if one.fate is Fate.STAYS}
    for key, facts in there.items():
        if key not in kept:
            real.table.remove_pod(facts.uid)
    for one in outcome.pods:
        if one.fate in (Fate.PLACED, Fate.WAITS):
            fresh = copy_of(there[one.key].pod)
            fresh.spec.node_name = ""
            fresh.metadata.ClearField("deletion_timestamp")
            facts, (profile,) = PodFacts.of(fresh), real.profiles.values()
            accepting = [plugin.filter(facts, real.table) for plugin in profile.filters]
            fits = {
                at
                for at, row in real.table.rows.items()
                if all(mask is None or mask[row] for mask in accepting) and not any(plugin.impossible(facts) for plugin in profile.filters)
            }
            assert (one.target in fits) if one.fate is Fate.PLACED else not fits
            if one.target:
                real.table.put_pod(facts, one.target)


@virtual_time
async def test_the_service_answers_and_touches_nothing() -> None:
    made = Fixture(node("n1", "2"), node("n2", "1"))
    async with made.running():
        await made.client.create(owned("a", "2"))
        await asyncio.sleep(1)
        before = snapshot(made.scheduler.state.table)
        servicer = SchedulerServicer(made.scheduler)
        answer = await servicer.WhatIf(api.WhatIfRequest(drain_node={"node": "n1"}), None)
        (one,) = answer.pods
        assert (one.namespace, one.pod, one.fate, getattr(one, "from")) == ("default", "a", what_if_pb2.FATE_WAITS, "n1")
        assert one.reason == "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable."
        answer = await servicer.WhatIf(api.WhatIfRequest(set_requests={"pod": "a", "requests": {"cpu": "500m"}}), None)
        assert answer.pods[0].fate == what_if_pb2.FATE_PLACED
        answer = await servicer.WhatIf(api.WhatIfRequest(add_node={"like": "n1"}), None)
        assert not answer.pods
        with pytest.raises(StatusError, match="must be one of drain_node"):
            await servicer.WhatIf(api.WhatIfRequest(), None)
        await asyncio.sleep(30)
        assert snapshot(made.scheduler.state.table) == before and (await made.pod("a")).spec.node_name == "n1"
