"""Room is made for pods of higher priority: who goes, where, and what is said; nobody is overtaken, and nobody goes for nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.policy.v1 import policy_pb2 as policy
from knarr.machinery.errors import status_error
from knarr.machinery.selectors import Selector
from knarr.objects.conditions import get_condition
from knarr.objects.copies import copy_of
from knarr.objects.disruptions import budget_selector
from services.scheduler import preemption
from services.scheduler.catalog import PLUGINS
from services.scheduler.component import Scheduler
from services.scheduler.decide import decide
from services.scheduler.pod_facts import PodFacts
from services.scheduler.preemption import NO_VICTIMS, NOT_HELPFUL, Answer, Preemption, Search
from services.scheduler.settings import SchedulerSettings
from tests.scheduler.clusters import table_of
from tests.scheduler.contested import classed, fixture, let_it_wait
from tests.scheduler.objects import Objects, node, pod, profile_of
from tests.support.rights import SCHEDULER
from tests.support.virtual_time import VirtualClock, virtual_time

ANY_SEED = st.integers(0, 1000)


def placed(name: str, at: str, priority: int = 0, cpu: str = "1", begun: int = 0, **labels: str) -> tuple[PodFacts, str]:
    found = pod(name, cpu, priority=priority, node_name=at)
    found.metadata.labels.update(labels)
    found.status.start_time.seconds = begun
    return PodFacts.of(found), at


def budget(name: str, allowed: int, **labels: str) -> policy.PodDisruptionBudget:
    found = policy.PodDisruptionBudget()
    found.metadata.name, found.metadata.namespace = name, "default"
    found.spec.selector.match_labels.update(labels)
    found.status.disruptions_allowed = allowed
    return found


def search(
    nodes: Sequence[core.Node], there: Sequence[tuple[PodFacts, str]], wanted: core.Pod, *budgets: policy.PodDisruptionBudget, seed: int = 0
) -> Answer:
    table = table_of(list(nodes), there)
    plugins = [plugin(Objects()) for plugin in PLUGINS]
    answer = Search(table, plugins, PodFacts.of(wanted), budgets).run(random.Random(seed))
    table.validate()
    return answer


def victims(answer: Answer) -> tuple[str, list[str]]:
    assert answer.preemption is not None
    return answer.preemption.node, sorted(victim.key.name for victim in answer.preemption.victims)


@pytest.mark.parametrize("seed", range(3))
def test_the_lowest_goes_and_no_more_than_must(seed: int) -> None:
    there = [placed("low", "n1", 1), placed("middle", "n1", 5), placed("high", "n2", 8), placed("other", "n2", 8)]
    answer = search([node("n1", cpu="2"), node("n2", cpu="2")], there, pod("urgent", "1", priority=10), seed=seed)
    assert victims(answer) == ("n1", ["low"])


def test_of_equals_those_go_that_began_last() -> None:
    there = [placed("old", "n1", begun=10), placed("new", "n1", begun=20)]
    assert victims(search([node("n1", cpu="2")], there, pod("urgent", "1", priority=1))) == ("n1", ["new"])
    there = [placed("a", "n1", begun=10), placed("b", "n2", begun=20)]
    assert victims(search([node("n1", cpu="1"), node("n2", cpu="1")], there, pod("urgent", "1", priority=1))) == ("n2", ["b"])


def test_fewer_are_better_than_many_and_low_ones_better_than_few() -> None:
    nodes = [node("n1", cpu="2"), node("n2", cpu="2")]
    many = [placed("a", "n1"), placed("b", "n1"), placed("c", "n2", cpu="2")]
    assert victims(search(nodes, many, pod("urgent", "2", priority=10))) == ("n2", ["c"])
    low = [placed("a", "n1"), placed("b", "n1"), placed("c", "n2", 1, cpu="2")]
    assert victims(search(nodes, low, pod("urgent", "2", priority=10))) == ("n1", ["a", "b"])


LOW, MIDDLE, HIGH, BELOW = 0, 100, 1000, -100
# By node the pods that would go: their priority, and when they began; and the node that kube-scheduler's own rules choose.
CHOICES: Mapping[str, tuple[Mapping[str, Sequence[tuple[int, int]]], str]] = {
    "the lowest of the highest": ({"n1": [(MIDDLE, 1)], "n2": [(LOW, 1), (LOW, 1)], "n3": [(MIDDLE, 1), (LOW, 1)]}, "n2"),
    "the lowest together": ({"n1": [(MIDDLE, 1), (MIDDLE, 1)], "n2": [(MIDDLE, 1), (LOW, 1)]}, "n2"),
    "fewer, for each counts more than nothing": ({"n1": [(MIDDLE, 1), (BELOW, 1), (BELOW, 1)], "n2": [(MIDDLE, 1), (BELOW, 1)]}, "n2"),
    "however low they are": ({"n1": [(MIDDLE, 1), (BELOW, 1), (BELOW, 1)], "n2": [(MIDDLE, 1), (MIDDLE, 1)]}, "n2"),
    "the latest of those that began first": (
        {"n1": [(MIDDLE, 4), (MIDDLE, 2)], "n2": [(MIDDLE, 5), (MIDDLE, 1)], "n3": [(MIDDLE, 3), (MIDDLE, 6)]},
        "n3",
    ),
    "of the highest alone": ({"n1": [(LOW, 9), (MIDDLE, 4)], "n2": [(LOW, 7), (MIDDLE, 6)], "n3": [(LOW, 8), (MIDDLE, 5)]}, "n2"),
    "priority before time": ({"n1": [(HIGH, 9)], "n2": [(MIDDLE, 1)]}, "n2"),
}


@pytest.mark.parametrize("case", CHOICES)
def test_of_ways_to_make_room_kube_schedulers_is_taken(case: str) -> None:
    nodes, chosen = CHOICES[case]
    found = [
        Preemption(name, tuple(placed(f"{name}-{at}", name, low, begun=begun)[0] for at, (low, begun) in enumerate(pods)), 0)
        for name, pods in nodes.items()
    ]
    for candidates in (found, found[::-1]):
        best = Answer(candidates, {}).preemption
        assert best is not None and best.node == chosen
    # And before all that the fewest budgets.
    broken = [Preemption(one.node, one.victims, int(one.node == chosen)) for one in found]
    best = Answer(broken, {}).preemption
    assert best is not None and best.node != chosen


def test_budgets_are_kept_where_they_can_be_and_broken_where_they_must() -> None:
    there = [placed("held", "n1", app="web"), placed("free", "n1", 5), placed("held-2", "n2", app="web")]
    nodes = [node("n1", cpu="2"), node("n2", cpu="1")]
    kept = budget("web", 0, app="web")
    assert victims(search(nodes, there, pod("urgent", "1", priority=10), kept)) == ("n1", ["free"])
    assert victims(search(nodes[1:], there[2:], pod("urgent", "1", priority=10), kept)) == ("n2", ["held-2"])
    # One may go: the second on the same node would break it.
    one = budget("web", 1, app="web")
    both = [placed("held", "n1", app="web"), placed("held-2", "n1", app="web")]
    answer = search(nodes[:1], both, pod("urgent", "2", priority=10), one).preemption
    assert answer is not None and answer.violations == 1


def test_budgets_of_other_namespaces_and_empty_ones_hold_nobody_and_each_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [placed("a", "n1", app="web"), placed("b", "n1", 5, app="db"), placed("c", "n2", app="web"), placed("d", "n2", 5)]
    nodes = [node("n1", cpu="2"), node("n2", cpu="2")]
    elsewhere, empty = budget("elsewhere", 0, app="web"), budget("empty", 0)
    elsewhere.metadata.namespace = "other"
    empty.spec.ClearField("selector")
    read = list[str]()

    def reading(found: policy.PodDisruptionBudget) -> Selector | None:
        read.append(found.metadata.name)
        return budget_selector(found)

    monkeypatch.setattr(preemption, "budget_selector", reading)
    answer = search(nodes, there, pod("urgent", "1", priority=10), elsewhere, empty, budget("db", 0, app="db")).preemption
    assert answer is not None and answer.violations == 0 and [victim.priority for victim in answer.victims] == [0]
    assert read == ["elsewhere", "empty", "db"]


def test_what_would_not_help_is_told() -> None:
    tainted = node("n3", cpu="1")
    tainted.spec.taints.add(key="role", effect="NoSchedule")
    there = [placed("equal", "n1", 10), placed("low", "n2"), placed("equal-2", "n2", 10), placed("low-3", "n3")]
    answer = search([node("n1", cpu="2"), node("n2", cpu="2"), tainted], there, pod("urgent", "2", priority=10))
    assert answer.preemption is None
    assert answer.words(3) == f"preemption: 0/3 nodes are available: 1 Insufficient cpu, 1 {NO_VICTIMS}, 1 {NOT_HELPFUL}."
    answer = search([node("n1", cpu="2"), tainted], there[:1], pod("calm", "2"))
    assert answer.words(2) == f"preemption: 0/2 nodes are available: 1 {NO_VICTIMS}, 1 {NOT_HELPFUL}."


def test_nobody_goes_from_nodes_that_are_too_small_unlabelled_or_far_from_whom_a_pod_wants_near() -> None:
    """As kube-scheduler has it: the first filter that refuses a node says whether removing pods may help."""
    near = pod("near", "1", priority=10)
    term = near.spec.affinity.pod_affinity.required_during_scheduling_ignored_during_execution.add(topology_key="zone")
    term.label_selector.match_labels["app"] = "web"
    spread = pod("spread", "1", priority=10)
    spread.spec.topology_spread_constraints.add(max_skew=1, topology_key="zone", when_unsatisfiable="DoNotSchedule")
    for wanted in (pod("large", "3", priority=10), near, spread):
        for there in ([placed("low", "n1", cpu="500m")], []):
            told = search([node("n1", cpu="2")], there, wanted).words(1)
            assert told == f"preemption: 0/1 nodes are available: 1 {NOT_HELPFUL}.", wanted.metadata.name
    # A node that has no room, either, is first refused for that: it is looked at, and refused in the end.
    told = search([node("n1", cpu="1")], [placed("low", "n1")], near).words(1)
    assert told == "preemption: 0/1 nodes are available: 1 node(s) didn't match pod affinity rules."
    assert NO_VICTIMS in search([node("n1", cpu="1")], [placed("high", "n1", 20)], near).words(1)
    both = [placed("low", "n1", cpu="1"), placed("high", "n1", 20, cpu="1")]
    larger = copy_of(near)
    larger.spec.containers[0].resources.requests["cpu"].string = "2"
    assert "1 Insufficient cpu." in search([node("n1", cpu="2")], both, larger).words(1)


def test_of_pods_of_one_priority_the_one_that_has_not_begun_goes() -> None:
    """However long ago it was made: it loses nothing."""
    begun, waiting = placed("begun", "n1", begun=100)[0].pod, pod("bound", "1", node_name="n1")
    begun.metadata.creation_timestamp.seconds, waiting.metadata.creation_timestamp.seconds = 90, 10
    there = [(PodFacts.of(one), "n1") for one in (begun, waiting)]
    assert victims(search([node("n1", cpu="2")], there, pod("urgent", "1", priority=1))) == ("n1", ["bound"])


@pytest.mark.parametrize("seed", range(3))
def test_a_way_that_breaks_no_budget_is_looked_for_when_enough_were_found_that_do(seed: int) -> None:
    nodes = [node(f"n{number:03}", cpu="1") for number in range(120)]
    there = [placed(f"p{number:03}", f"n{number:03}", app="web" if number != 60 else "free") for number in range(120)]
    assert victims(search(nodes, there, pod("urgent", "1", priority=1), budget("web", 0, app="web"), seed=seed)) == ("n060", ["p060"])


def test_who_is_not_wanted_near_goes() -> None:
    lonely = pod("lonely", priority=10)
    term = lonely.spec.affinity.pod_anti_affinity.required_during_scheduling_ignored_during_execution.add(topology_key="zone")
    term.label_selector.match_labels["app"] = "web"
    there = [placed("web", "n1", app="web"), placed("db", "n1", app="db")]
    assert victims(search([node("n1", labels={"zone": "a"})], there, lonely)) == ("n1", ["web"])
    # The one that is not wanted is on another node of the zone: nobody on this node helps.
    nodes = [node("n1", labels={"zone": "a"}), node("n2", labels={"zone": "a"})]
    assert victims(search(nodes, [placed("web", "n1", app="web"), placed("db", "n2")], lonely)) == ("n1", ["web"])


SIZES = st.sampled_from(["500m", "1", "2"])


@given(st.lists(st.tuples(SIZES, st.integers(0, 4), st.integers(0, 2), st.booleans()), max_size=12), SIZES, st.integers(0, 5), ANY_SEED)
@settings(max_examples=150, deadline=None)
def test_room_is_made_for_higher_ones_by_as_few_as_will_do(there: list[Any], cpu: str, priority: int, seed: int) -> None:
    """Without the victims the pod fits, with any one of them back it does not; all are lower; and where no node would do, none is named."""
    nodes = [node(f"n{number}", cpu="2") for number in range(3)]
    pods = [placed(f"p{number}", f"n{at}", low, size, app="web" if web else "db") for number, (size, low, at, web) in enumerate(there)]
    wanted, plugins = PodFacts.of(pod("wanted", cpu, priority=priority)), [plugin(Objects()) for plugin in PLUGINS]
    if decide(table_of(nodes, pods), profile_of(plugins), wanted, random.Random(0)).node:
        return
    answer = search(nodes, pods, wanted.pod, budget("web", 1, app="web"), seed=seed)
    found = answer.preemption
    if found is None:
        for name in ("n0", "n1", "n2"):
            left = [one for one in pods if one[1] != name or one[0].priority >= priority]
            assert decide(table_of(nodes, left), profile_of(plugins), wanted, random.Random(0)).node != name
        return
    assert found.victims and all(victim.priority < priority for victim in found.victims)
    gone = {victim.uid for victim in found.victims}
    for back in (None, *gone):
        left = [one for one in pods if one[0].uid not in gone - {back}]
        table = table_of(nodes, left)
        fits = all(mask is None or mask[table.rows[found.node]] for mask in (plugin.filter(wanted, table) for plugin in plugins))
        assert fits is (back is None)


@virtual_time
async def test_a_pod_preempts_and_takes_the_node_once_it_is_free() -> None:
    made = fixture()
    async with made.running():
        await made.client.create(pod("low", "1"))
        await asyncio.sleep(1)
        low = await made.pod("low")
        # A grace period: it stays until its node lets it go.
        await made.client.create(classed("urgent", 10))
        await asyncio.sleep(0.5)
        leaving = await made.pod("low")
        assert leaving.metadata.HasField("deletion_timestamp")
        target = get_condition(leaving.status, "DisruptionTarget")
        assert target is not None and (target.status, target.reason) == ("True", "PreemptionByScheduler")
        urgent = await made.pod("urgent")
        assert urgent.status.nominated_node_name == "n1" and not urgent.spec.node_name
        assert made.events("Preempted") == [f"Preempted by pod {urgent.metadata.uid} on node n1"]
        await asyncio.sleep(30)
        assert len(made.events("Preempted")) == 1
        await made.client.delete(core.Pod, "low", "default", uid=low.metadata.uid, grace_period_seconds=0)
        await asyncio.sleep(15)
        assert (await made.pod("urgent")).spec.node_name == "n1"


@virtual_time
async def test_who_waits_for_room_is_not_overtaken_by_lower_ones_and_is_by_higher_ones() -> None:
    made = fixture()
    async with made.running():
        await let_it_wait(made)
        await made.client.create(classed("other", 5))
        await asyncio.sleep(1)
        low = await made.pod("low")
        await made.client.delete(core.Pod, "low", "default", uid=low.metadata.uid, grace_period_seconds=0)
        await asyncio.sleep(15)
        assert not (await made.pod("other")).spec.node_name
        assert (await made.pod("urgent")).spec.node_name == "n1"


@virtual_time
async def test_a_higher_one_takes_the_promise_over() -> None:
    made = fixture()
    async with made.running():
        await let_it_wait(made)
        await made.client.create(classed("highest", 20))
        await asyncio.sleep(1)
        assert (await made.pod("highest")).status.nominated_node_name == "n1"
        assert not (await made.pod("urgent")).status.nominated_node_name


@virtual_time
async def test_a_pod_that_may_not_preempt_says_so() -> None:
    made = fixture()
    async with made.running():
        await made.client.create(pod("low", "1"))
        await asyncio.sleep(1)
        await made.client.create(classed("calm", 11))
        await asyncio.sleep(1)
        assert made.events("FailedScheduling") == [
            "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."
        ]
        assert not (await made.pod("low")).metadata.HasField("deletion_timestamp")


@virtual_time
async def test_a_promise_outlives_the_scheduler_and_a_removal_that_fails_is_tried_again() -> None:
    made = fixture()
    async with made.running():
        await made.client.create(pod("low", "1"))
        await asyncio.sleep(1)
        made.api.fail_next(status_error("InternalError", "not now"), verb="delete", message_type=core.Pod)
        await made.client.create(classed("urgent", 10))
        await asyncio.sleep(0.5)
        assert not (await made.pod("low")).metadata.HasField("deletion_timestamp")
        await asyncio.sleep(15)
        assert (await made.pod("low")).metadata.HasField("deletion_timestamp")
    # Another scheduler knows of the promise by what is written.
    made.scheduler = Scheduler(made.api.client(SCHEDULER), SchedulerSettings(seed=1), clock=VirtualClock())
    async with made.running():
        await asyncio.sleep(1)
        assert made.scheduler.state.nominations.node_of((await made.pod("urgent")).metadata.uid) == "n1"
