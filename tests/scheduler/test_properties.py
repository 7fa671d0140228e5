"""Random clusters: no node is ever over-committed, and the table equals a fresh count."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from knarr.objects.amounts import PODS
from services.scheduler.decide import decide, explain
from services.scheduler.pod_facts import PodFacts
from services.scheduler.profile import DEFAULT_SCHEDULER
from services.scheduler.queue import Waiting
from services.scheduler.settings import SchedulerSettings
from services.scheduler.state import SchedulerState
from tests.scheduler.objects import Objects, node, pod

CPUS = st.sampled_from(["", "250m", "1", "1500m", "3"])
MEMORY = st.sampled_from(["", "64Mi", "1Gi", "3Gi"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("node"), st.integers(0, 4), st.sampled_from(["1", "2", "8"]), st.sampled_from(["2Gi", "8Gi"]), st.integers(1, 6)),
        st.tuples(st.just("no node"), st.integers(0, 4)),
        st.tuples(st.just("pod"), st.integers(0, 30), CPUS, MEMORY),
        st.tuples(st.just("no pod"), st.integers(0, 30)),
        st.tuples(st.just("bound"), st.integers(0, 30)),
        st.tuples(st.just("bind failed"), st.integers(0, 30)),
    ),
    max_size=60,
)


class Model:
    """Drives the state as informers and the loop do, and checks what it decides."""

    def __init__(self) -> None:
        self.state = SchedulerState(SchedulerSettings(), Objects(), lambda: 0.0)
        self.nodes: dict[str, Any] = {}
        # As they were last, also of nodes that are gone.
        self.shapes: dict[str, Any] = {}
        self.pods: dict[str, Any] = {}
        self.assumed: dict[str, tuple[PodFacts, str]] = {}
        self.random = random.Random(1)

    def node(self, number: int, cpu: str, memory: str, pods: int) -> None:
        """A node with pods on it stays as it is, and comes back as it was: shrinking under its pods is not the scheduler's doing."""
        name = f"n{number}"
        if not self.taken(name):
            self.shapes[name] = node(name, cpu, memory, str(pods))
        new = self.shapes[name]
        self.state.node_changed(self.nodes.get(name), new)
        self.nodes[name] = new

    def no_node(self, number: int) -> None:
        gone = self.nodes.pop(f"n{number}", None)
        if gone is not None:
            self.state.node_changed(gone, None)

    def pod(self, number: int, cpu: str, memory: str) -> None:
        name = f"p{number}"
        if name in self.pods:
            return
        new = self.pods[name] = pod(name, cpu, memory)
        self.state.pod_changed(None, new)
        facts = PodFacts.of(new)
        verdicts = explain(self.state.table, self.state.profiles[DEFAULT_SCHEDULER], facts)
        decision = decide(self.state.table, self.state.profiles[DEFAULT_SCHEDULER], facts, self.random)
        assert bool(decision.node) is any(not verdict.refused_by for verdict in verdicts)
        if not decision.node:
            return
        row = self.state.table.rows[decision.node]
        for resource, amount in {**facts.requests, PODS: 1}.items():
            assert self.state.table.requested[resource][row] + amount <= self.state.table.allocatable[resource][row]
        self.state.assume(facts, decision.node)
        self.assumed[name] = facts, decision.node

    def no_pod(self, number: int) -> None:
        gone = self.pods.pop(f"p{number}", None)
        self.assumed.pop(f"p{number}", None)
        if gone is not None:
            self.state.pod_changed(gone, None)

    def bound(self, number: int) -> None:
        found = self.assumed.pop(f"p{number}", None)
        if found is not None:
            facts, name = found
            old = self.pods[facts.key.name]
            new = pod(facts.key.name, node_name=name)
            new.spec.containers[0].CopyFrom(old.spec.containers[0])
            self.pods[facts.key.name] = new
            self.state.pod_changed(old, new)

    def bind_failed(self, number: int) -> None:
        found = self.assumed.pop(f"p{number}", None)
        if found is not None:
            self.state.forget(found[0])
            self.state.queue.retry(Waiting(found[0], 0.0))

    def taken(self, name: str) -> bool:
        return bool(self.state.table.pods_of(name))


@given(STEPS)
@example([("node", 0, "1", "8Gi", 1), ("pod", 0, "", "3Gi"), ("no node", 0), ("node", 0, "1", "2Gi", 1)])
@settings(max_examples=150, deadline=None)
def test_nodes_are_never_over_committed(steps: list[tuple[Any, ...]]) -> None:
    model = Model()
    for action, *arguments in steps:
        getattr(model, action.replace(" ", "_"))(*arguments)
        model.state.validate()
    table = model.state.table
    assert set(table.rows) == set(model.nodes)
    for row in table.rows.values():
        for resource, offered in table.allocatable.items():
            assert table.requested[resource][row] <= offered[row]
