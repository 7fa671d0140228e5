"""An event wakes every pod that it makes schedulable. Held against the filters themselves, before and after random events."""

from __future__ import annotations

import asyncio
import copy
import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from services.scheduler.decide import Decision, decide
from services.scheduler.plugin import Plugin
from services.scheduler.plugins.interpodaffinity.plugin import InterPodAffinity
from services.scheduler.plugins.podtopologyspread.plugin import PodTopologySpread
from services.scheduler.pod_facts import PodFacts
from services.scheduler.profile import DEFAULT_SCHEDULER
from services.scheduler.queue import State, Waiting
from services.scheduler.settings import SchedulerSettings
from services.scheduler.state import SchedulerState
from tests.scheduler.clusters import CLUSTERS, NODE_NAMES, askers, crowds, namespaces, nodes, pods, storage_objects, web_service
from tests.scheduler.objects import Objects, node, pod

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("node"), nodes()),
        st.tuples(st.just("no_node"), NODE_NAMES),
        st.tuples(st.just("placed"), st.integers(0, 7).flatmap(pods), NODE_NAMES),
        st.tuples(st.just("gone"), st.integers(0, 7)),
        st.tuples(st.just("relabelled"), st.integers(0, 7), st.sampled_from(["web", "db"])),
        st.tuples(st.just("other"), st.integers(0, 60)),
        st.tuples(st.just("itself"), pods(99)),
    ),
    min_size=1,
    max_size=8,
)
# What is left of a pod that waits, so that not everything keeps it from everywhere; and whether nodes may be cordoned.
ASKED = ("volumes", "affinity", "topology_spread_constraints", "node_selector", "resource_claims")
LEFT = st.sets(st.sampled_from([*ASKED, "ports", "requests", "cordons"]), min_size=1, max_size=3)
# Pods that ask something of one another, on nodes whose zones change.
CROWD_NODES = st.tuples(st.integers(0, 3), st.sampled_from("abc")).map(
    lambda drawn: node(f"n{drawn[0]}", labels={"zone": drawn[1], "disk": "a"})
)
CROWD_EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("node"), CROWD_NODES),
        st.tuples(st.just("placed"), st.integers(10, 17).flatmap(askers), st.sampled_from(["n0", "n1", "n2", "n3"])),
        st.tuples(st.just("gone"), st.one_of(st.integers(0, 7), st.integers(10, 17))),
        st.tuples(st.just("relabelled"), st.integers(0, 7), st.sampled_from(["web", "db"])),
        st.tuples(st.just("other"), st.integers(0, 60)),
    ),
    min_size=1,
    max_size=8,
)
CROWDED = {"affinity", "topology_spread_constraints"}
# How often pods were woken, and of these for nothing, by who had refused them.
WOKEN, IN_VAIN = Counter[str](), Counter[str]()


class Model:
    """Tells the state of events as informers do, and tries pods that wake as the loop does."""

    def __init__(self, cluster: Any, left: set[str]) -> None:
        self.left = left
        found, placed, _ = cluster
        self.objects: list[Message] = [*storage_objects(), *namespaces(), web_service()]
        self.absent: list[Message] = []
        self.world = Objects(*self.objects)
        self.state = SchedulerState(SchedulerSettings(), self.world, asyncio.get_running_loop().time)
        self.nodes: dict[str, core.Node] = {}
        self.pods: dict[str, core.Pod] = {}
        for one in found:
            self.node(one)
        for facts, name in placed:
            self.placed(facts.pod, name)

    def node(self, made: core.Node) -> None:
        found, name = copy.deepcopy(made), made.metadata.name
        found.spec.unschedulable &= "cordons" in self.left
        self.state.node_changed(self.nodes.get(name), found)
        self.nodes[name] = found

    def no_node(self, name: str) -> None:
        if name in self.nodes:
            self.state.node_changed(self.nodes.pop(name), None)

    def placed(self, found: core.Pod, name: str) -> None:
        if found.metadata.uid not in self.pods:
            there = copy.deepcopy(found)
            there.spec.node_name = name
            self.state.pod_changed(None, there)
            self.pods[there.metadata.uid] = there

    def gone(self, number: int) -> None:
        for uid in [uid for uid, found in self.pods.items() if found.metadata.name == f"p{number}"]:
            self.state.pod_changed(self.pods.pop(uid), None)

    def relabelled(self, number: int, app: str) -> None:
        for uid, old in [(uid, found) for uid, found in self.pods.items() if found.metadata.name == f"p{number}"]:
            new = copy.deepcopy(old)
            new.metadata.labels["app"] = app
            self.state.pod_changed(old, new)
            self.pods[uid] = new

    def other(self, number: int) -> None:
        """An object comes or goes; a namespace gets other labels."""
        everything = [*self.objects, *self.absent]
        obj = everything[number % len(everything)]
        if obj in self.absent:
            self.absent.remove(obj)
            self.objects.append(obj)
            self.tell(None, obj)
        elif isinstance(obj, core.Namespace):
            new = copy.deepcopy(obj)
            new.metadata.labels["team"] = "red" if new.metadata.labels.get("team") == "blue" else "blue"
            self.objects[self.objects.index(obj)] = new
            self.tell(obj, new)
        else:
            self.objects.remove(obj)
            self.absent.append(obj)
            self.tell(obj, None)

    def tell(self, old: Message | None, new: Message | None) -> None:
        self.world.objects = tuple(self.objects)
        self.state.object_changed(old, new)

    def itself(self, found: core.Pod) -> None:
        """The pod that waits asks for something else, under its name."""
        (waiting,) = self.state.queue.pods()
        new = waits(found, self.left)
        new.metadata.uid, new.metadata.namespace = waiting.uid, waiting.key.namespace
        self.state.pod_changed(waiting.pod, new)

    def judged(self, pod: PodFacts) -> Decision:
        nodes = self.state.nominations.seen_by(pod, self.state.table)
        return decide(nodes, self.state.profiles[DEFAULT_SCHEDULER], pod, random.Random(0))

    def refuse(self, waiting: Waiting, decision: Decision) -> None:
        self.state.queue.refuse(waiting, decision.refused_by)
        # Its pause is over: an event that may help has it tried at once.
        waiting.retry_at = 0.0


def waits(found: core.Pod, left: set[str]) -> core.Pod:
    """A pod that waits, and asks for these things alone."""
    pod = copy.deepcopy(found)
    pod.spec.node_name = ""
    pod.metadata.ClearField("deletion_timestamp")
    for name in ASKED:
        if name not in left:
            pod.spec.ClearField(name)
    for container in pod.spec.containers:
        if "ports" not in left:
            container.ClearField("ports")
        if "requests" not in left:
            container.ClearField("resources")
    return pod


async def play(cluster: Any, left: set[str], events: list[tuple[Any, ...]]) -> None:
    model = Model(cluster, left)
    model.state.pod_changed(None, waits(cluster[2][0].pod, left))
    waiting = await model.state.queue.take()
    for action, *arguments in events:
        decision = model.judged(waiting.pod)
        if decision.node:
            return
        model.refuse(waiting, decision)
        getattr(model, action)(*arguments)
        fits = bool(model.judged(waiting.pod).node)
        woken = waiting.state is State.ACTIVE
        assert woken or not fits, f"{action} made the pod schedulable, and did not wake it: refused by {sorted(decision.refused_by)}"
        if woken:
            for by in decision.refused_by:
                WOKEN[by] += 1
                IN_VAIN[by] += not fits
        if not fits and not woken:
            # Still unschedulable: taken out by hand for the next event.
            model.state.queue.changed(lambda _: True)
        waiting = await model.state.queue.take()


@given(CLUSTERS, LEFT, EVENTS)
@settings(max_examples=250, deadline=None)
def test_no_event_that_helps_is_missed(cluster: Any, left: set[str], events: list[tuple[Any, ...]]) -> None:
    asyncio.run(play(cluster, left, events))


@given(crowds(), CROWD_EVENTS)
@settings(max_examples=250, deadline=None)
def test_no_event_that_helps_one_of_a_crowd_is_missed(cluster: Any, events: list[tuple[Any, ...]]) -> None:
    asyncio.run(play(cluster, CROWDED, events))


ZONE = "zone"


def labelled(name: str, app: str) -> core.Pod:
    found = pod(name)
    found.metadata.labels["app"] = app
    return found


def of(app: str) -> meta.LabelSelector:
    return meta.LabelSelector(match_labels={"app": app})


def away_from(found: core.Pod, app: str) -> core.Pod:
    terms = found.spec.affinity.pod_anti_affinity.required_during_scheduling_ignored_during_execution
    terms.add(topology_key=ZONE, label_selector=of(app))
    return found


def near_to(found: core.Pod, app: str) -> core.Pod:
    terms = found.spec.affinity.pod_affinity.required_during_scheduling_ignored_during_execution
    terms.add(topology_key=ZONE, label_selector=of(app))
    return found


def spread_from_zone_a() -> core.Pod:
    """One that may go to zone a alone, where there may be one more of its kind than in the emptiest zone."""
    found = labelled("p99", "web")
    found.spec.node_selector[ZONE] = "a"
    found.spec.topology_spread_constraints.add(
        max_skew=1, topology_key=ZONE, when_unsatisfiable="DoNotSchedule", label_selector=of("web"), node_affinity_policy="Ignore"
    )
    return found


def only_in_b(found: core.Pod) -> core.Pod:
    found.spec.node_selector[ZONE] = "b"
    return found


def in_zone(name: str, zone: str) -> core.Node:
    return node(name, labels={ZONE: zone} if zone else {})


A, B, NO_ZONE = in_zone("n0", "a"), in_zone("n1", "b"), in_zone("n0", "")
WEB = labelled("p0", "web")
# By plugin: nodes, pods on them, who waits, and the event that makes it schedulable.
HELPS: Mapping[str, tuple[type[Plugin], list[core.Node], list[tuple[core.Pod, str]], core.Pod, tuple[Any, ...]]] = {
    "whom it wants to be away from leaves": (InterPodAffinity, [A], [(WEB, "n0")], away_from(labelled("p99", "db"), "web"), ("gone", 0)),
    "whom it wants to be away from changes": (
        InterPodAffinity, [A], [(WEB, "n0")], away_from(labelled("p99", "db"), "web"), ("relabelled", 0, "db"),
    ),
    "who wants to be away from it leaves": (
        InterPodAffinity, [A], [(away_from(labelled("p0", "web"), "db"), "n0")], labelled("p99", "db"), ("gone", 0),
    ),
    "whom it wants to be near to comes": (InterPodAffinity, [A], [], near_to(labelled("p99", "db"), "web"), ("placed", WEB, "n0")),
    "it is the first of its kind again": (
        InterPodAffinity, [A, B], [(WEB, "n0")], only_in_b(near_to(labelled("p99", "web"), "web")), ("gone", 0),
    ),
    "the node of whom it wants to be near to gets a zone": (
        InterPodAffinity, [NO_ZONE], [(WEB, "n0")], near_to(labelled("p99", "db"), "web"), ("node", A),
    ),
    "one of its kind leaves the zone": (PodTopologySpread, [A, B], [(WEB, "n0")], spread_from_zone_a(), ("gone", 0)),
    "one of its kind is none any more": (PodTopologySpread, [A, B], [(WEB, "n0")], spread_from_zone_a(), ("relabelled", 0, "db")),
    "one of its kind comes to the emptiest zone": (
        PodTopologySpread, [A, B], [(WEB, "n0")], spread_from_zone_a(), ("placed", labelled("p1", "web"), "n1"),
    ),
    "the emptiest zone is none any more": (PodTopologySpread, [A, B], [(WEB, "n0")], spread_from_zone_a(), ("node", in_zone("n1", ""))),
}  # fmt: skip


@pytest.mark.parametrize("what", HELPS)
def test_what_helps_wakes_and_a_lost_wakeup_is_found(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin, made, placed, waiting, event = HELPS[what]
    cluster = (made, [(PodFacts.of(found), name) for found, name in placed], [PodFacts.of(waiting)])
    left = {"affinity", "topology_spread_constraints", "node_selector"}
    asyncio.run(play(cluster, left, [event]))
    monkeypatch.setattr(plugin, "mends", lambda *_: False)
    with pytest.raises(AssertionError, match=f"made the pod schedulable, and did not wake it: refused by .*{plugin.name}"):
        asyncio.run(play(cluster, left, [event]))


@pytest.mark.parametrize(
    ("waiting", "event"),
    [
        (away_from(labelled("p99", "db"), "web"), ("placed", labelled("p5", "web"), "n1")),
        (away_from(labelled("p99", "db"), "web"), ("gone", 1)),
        (near_to(labelled("p99", "db"), "cache"), ("placed", labelled("p5", "web"), "n1")),
        (spread_from_zone_a(), ("gone", 1)),
    ],
)
def test_a_pod_that_is_not_minded_wakes_nobody(waiting: core.Pod, event: tuple[Any, ...]) -> None:
    """Nor one that comes where it only makes things worse."""

    async def check() -> None:
        placed = [(WEB, "n0"), (labelled("p1", "db"), "n1"), (labelled("p2", "web"), "n1"), (labelled("p3", "web"), "n0")]
        model = Model(([A, B], [(PodFacts.of(found), name) for found, name in placed], []), set())
        model.state.pod_changed(None, waiting)
        waits_now = await model.state.queue.take()
        model.refuse(waits_now, model.judged(waits_now.pod))
        action, *arguments = event
        getattr(model, action)(*arguments)
        assert waits_now.state is State.UNSCHEDULABLE

    asyncio.run(check())


@pytest.mark.parametrize("elsewhere", ["n1", "not here"])
async def test_room_that_was_kept_for_a_pod_which_another_one_placed_wakes_who_was_refused_it(elsewhere: str) -> None:
    """A scheduler that led before, whose binding arrived late, had put it elsewhere."""
    model = Model(([node("n0", cpu="1"), node("n1", cpu="1")], [(PodFacts.of(pod("p0", cpu="500m")), "n1")], []), set())
    early, late = pod("p1", cpu="500m"), pod("p2", cpu="1")
    model.state.pod_changed(None, early)
    model.state.assume((await model.state.queue.take()).pod, "n0")
    model.state.pod_changed(None, late)
    refused = await model.state.queue.take()
    model.refuse(refused, model.judged(refused.pod))
    model.placed(early, elsewhere)
    assert model.judged(refused.pod).node == "n0"
    assert refused.state is State.ACTIVE
