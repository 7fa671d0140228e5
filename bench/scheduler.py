"""Decisions of the scheduler alone: each pod is judged against every node and counted where it goes; nothing is written or sent.

All plugins are on, and 10,000 pods are there already. Time is the process's own, so that a busy machine makes it no longer. The peer's
figures are the floors that kube-scheduler's own performance tests demand on 5,000 nodes; they include the writing.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.cluster import resident_megabytes, run
from bench.result import Result
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from services.scheduler.decide import decide
from services.scheduler.judgements import Judgements
from services.scheduler.plugin import Cluster, M
from services.scheduler.pod_facts import PodFacts
from services.scheduler.preemption import Preemption, Search
from services.scheduler.profile import DEFAULT_SCHEDULER
from services.scheduler.settings import SchedulerSettings
from services.scheduler.state import SchedulerState

PEER = "kube-scheduler"
NODES, PRESENT, PODS, ROUNDS = 5000, 10_000, 1000, 3
ZONE, HOSTNAME = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
MEMORY_PODS, MEMORY_MEGABYTES = 50_000, 400.0
LOW, HIGH = 0, 1000


class _Nothing(Cluster):
    def list(self, kind: type[M], namespace: str = "") -> Sequence[M]:
        return []

    def get(self, kind: type[M], namespace: str, name: str) -> M | None:
        return None


def node(number: int) -> core.Node:
    """A node of one of three zones that takes 110 pods."""
    found = core.Node()
    found.metadata.name = f"node-{number}"
    found.metadata.labels.update({HOSTNAME: found.metadata.name, ZONE: f"zone-{number % 3}"})
    for name, amount in (("cpu", "32"), ("memory", "256Gi"), ("pods", "110")):
        found.status.allocatable[name].string = amount
    return found


def pod(number: int, prefix: str = "pod") -> core.Pod:
    """A pod that asks for a little CPU and memory."""
    found = core.Pod()
    name = f"{prefix}-{number}"
    found.metadata.name, found.metadata.namespace, found.metadata.uid = name, "default", f"uid-{name}"
    requests = found.spec.containers.add(name="main", image="app:1").resources.requests
    requests["cpu"].string, requests["memory"].string = "100m", "500Mi"
    return found


def spread_hard(number: int) -> core.Pod:
    """Evenly over zones, or not at all."""
    return _spread(number, "DoNotSchedule")


def spread_soft(number: int) -> core.Pod:
    """Evenly over zones, as far as it goes."""
    return _spread(number, "ScheduleAnyway")


def _spread(number: int, otherwise: str) -> core.Pod:
    found = pod(number)
    found.metadata.labels["color"] = "blue"
    found.spec.topology_spread_constraints.add(
        max_skew=5, topology_key=ZONE, when_unsatisfiable=otherwise, label_selector=_selector("color", "blue")
    )
    return found


def node_affinity(number: int) -> core.Pod:
    """In one of two zones."""
    found = pod(number)
    required = found.spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution
    required.node_selector_terms.add().match_expressions.add(key=ZONE, operator="In", values=["zone-1", "zone-2"])
    return found


def anti_affinity(number: int) -> core.Pod:
    """On no node with another one of its kind."""
    found = pod(number)
    found.metadata.labels["color"] = "green"
    found.spec.affinity.pod_anti_affinity.required_during_scheduling_ignored_during_execution.add(
        topology_key=HOSTNAME, label_selector=_selector("color", "green")
    )
    return found


def affinity(number: int) -> core.Pod:
    """In a zone with others of its kind."""
    found = pod(number)
    found.metadata.labels["color"] = "blue"
    found.spec.affinity.pod_affinity.required_during_scheduling_ignored_during_execution.add(
        topology_key=ZONE, label_selector=_selector("color", "blue")
    )
    return found


def preferred(number: int) -> core.Pod:
    """Better in a zone with others of its kind."""
    found = pod(number)
    found.metadata.labels["color"] = "yellow"
    term = core.PodAffinityTerm(topology_key=HOSTNAME, label_selector=_selector("color", "yellow"))
    found.spec.affinity.pod_affinity.preferred_during_scheduling_ignored_during_execution.add(weight=1, pod_affinity_term=term)
    return found


MIXTURE = (pod, spread_hard, spread_soft, node_affinity, anti_affinity, affinity, preferred)


def mixed(number: int) -> core.Pod:
    """Some of all, as kube-scheduler's test of that name has them among the pods that are there and that come."""
    found = MIXTURE[number % len(MIXTURE)](number)
    found.metadata.name, found.metadata.uid = f"mixed-{number}", f"uid-mixed-{number}"
    return found


def important(number: int) -> core.Pod:
    """One for which another has to go."""
    found = pod(number, "important")
    found.spec.priority = HIGH
    found.spec.containers[0].resources.requests["cpu"].string = "16"
    return found


def unimportant(number: int) -> core.Pod:
    """Two of them fill a node."""
    found = pod(number, "unimportant")
    found.spec.priority = LOW
    found.spec.containers[0].resources.requests["cpu"].string = "16"
    return found


def _selector(key: str, value: str) -> meta.LabelSelector:
    return meta.LabelSelector(match_labels={key: value})


@dataclass(frozen=True, slots=True)
class Case:
    """``make`` makes the pods that come, ``present`` those that are there; ``floor`` is the peer's, both in decisions a second."""

    name: str
    make: Callable[[int], core.Pod]
    target: float
    floor: float
    nodes: int = NODES
    present: Callable[[int], core.Pod] = pod


CASES = (
    Case("scheduler-decisions-1000", pod, 6000.0, 810.0, nodes=1000),
    Case("scheduler-decisions", pod, 6000.0, 810.0),
    Case("scheduler-spreading", spread_hard, 2000.0, 460.0),
    Case("scheduler-spreading-soft", spread_soft, 2000.0, 340.0),
    Case("scheduler-node-affinity", node_affinity, 3000.0, 220.0),
    Case("scheduler-anti-affinity", anti_affinity, 800.0, 60.0),
    Case("scheduler-affinity", affinity, 800.0, 35.0),
    Case("scheduler-preferred-affinity", preferred, 800.0, 90.0),
    Case("scheduler-mixed", mixed, 1000.0, 140.0, present=mixed),
)
PREEMPTING = Case("scheduler-preemption", important, 300.0, 570.0, present=unimportant)


def filled(case: Case) -> SchedulerState:
    """Nodes with pods on them, in turn."""
    state = SchedulerState(SchedulerSettings(), _Nothing(), time.monotonic)
    for number in range(case.nodes):
        state.node_changed(None, node(number))
    for number in range(PRESENT):
        found = case.present(number)
        found.metadata.uid = f"present-{number}"
        state.table.put_pod(PodFacts.of(found), f"node-{number % case.nodes}")
    return state


def decisions_per_second(case: Case, state: SchedulerState) -> float:
    """Over ``PODS`` pods one after the other, each seeing those before it, which are gone after it."""
    pods, source = [PodFacts.of(case.make(PRESENT + number)) for number in range(PODS)], random.Random(1)
    profile, nominations = state.profiles[DEFAULT_SCHEDULER], state.nominations
    started = time.process_time()
    for facts in pods:
        decision = decide(nominations.seen_by(facts, state.table), profile, facts, source)
        state.assume(facts, decision.node)
    seconds = time.process_time() - started
    for facts in pods:
        state.forget(facts)
    return PODS / seconds


def preemptions_per_second(state: SchedulerState) -> float:
    """Each pod is refused by all nodes, and promised one: who is to go is chosen, though nobody goes meanwhile."""
    profile, source, nominations = state.profiles[DEFAULT_SCHEDULER], random.Random(1), state.nominations
    assert profile.preemption is not None
    pods = [PodFacts.of(important(number)) for number in range(PODS // 2)]
    known: Judgements[Preemption | str] = Judgements()
    started = time.process_time()
    for facts in pods:
        decision = decide(nominations.seen_by(facts, state.table), profile, facts, source)
        assert not decision.node, decision
        search = Search(state.table, profile.filters, facts, (), nominations.before(facts), profile.preemption, known=known)
        found = search.run(source).preemption
        assert found is not None
        state.promise(facts, found.node)
    seconds = time.process_time() - started
    for facts in pods:
        state.withdraw(facts.uid)
    return len(pods) / seconds


def rates() -> Iterator[tuple[Case, float]]:
    """The best of some rounds of each case."""
    for case in CASES:
        state = filled(case)
        yield case, max(decisions_per_second(case, state) for _ in range(ROUNDS))
    state = filled(PREEMPTING)
    yield PREEMPTING, max(preemptions_per_second(state) for _ in range(ROUNDS))


async def decisions() -> list[Result]:
    return [Result(case.name, rate, "/s", PEER, case.floor, f"≥ {case.target:,.0f} /s", rate >= case.target) for case, rate in rates()]


async def memory() -> list[Result]:
    """All that a scheduler holds of 5,000 nodes and 50,000 pods, in a process of its own: the objects too, each of which it has alone."""
    megabytes = float(await run(sys.executable, "-m", "bench.scheduler"))
    target = f"≤ {MEMORY_MEGABYTES:g} MB"
    return [Result("scheduler-memory", megabytes, "MB", "", 0, target, megabytes <= MEMORY_MEGABYTES)]


def _hold() -> float:
    """Megabytes of this process with the nodes and pods."""
    state = SchedulerState(SchedulerSettings(), _Nothing(), time.monotonic)
    for number in range(NODES):
        state.node_changed(None, node(number))
    for number in range(MEMORY_PODS):
        # As it comes from the API: an object of its own.
        found = core.Pod.FromString(mixed(number).SerializeToString())
        found.spec.node_name = f"node-{number % NODES}"
        state.pod_changed(None, found)
    return resident_megabytes(os.getpid())


if __name__ == "__main__":
    print(_hold())
