"""Decisions of the scheduler alone: each pod is judged against every node and counted where it goes; nothing is written or sent.

The peer's figure is the floor that kube-scheduler's own performance tests demand for plain pods on 5,000 nodes; it includes the writing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from bench.result import Result
from knarr.api.core.v1 import core_pb2 as core
from services.scheduler.decide import decide
from services.scheduler.plugin import Cluster, M
from services.scheduler.pod_facts import PodFacts
from services.scheduler.profile import DEFAULT_SCHEDULER
from services.scheduler.settings import SchedulerSettings
from services.scheduler.state import SchedulerState

PEER, PEER_RATE = "kube-scheduler", 810.0
PODS = 4000
# Nodes, name and target (decisions a second).
SIZES = ((1000, "scheduler-decisions-1000", 6000.0), (5000, "scheduler-decisions", 3000.0))


class _Nothing(Cluster):
    def list(self, kind: type[M], namespace: str = "") -> Sequence[M]:
        return []

    def get(self, kind: type[M], namespace: str, name: str) -> M | None:
        return None


def node(number: int) -> core.Node:
    """A node of one of three zones that takes 110 pods."""
    found = core.Node()
    found.metadata.name = f"node-{number}"
    found.metadata.labels.update({"kubernetes.io/hostname": found.metadata.name, "topology.kubernetes.io/zone": f"zone-{number % 3}"})
    for resource, amount in (("cpu", "32"), ("memory", "256Gi"), ("pods", "110")):
        found.status.allocatable[resource].string = amount
    return found


def pod(number: int) -> core.Pod:
    """A pod that asks for a little CPU and memory."""
    found = core.Pod()
    found.metadata.name, found.metadata.namespace, found.metadata.uid = f"pod-{number}", "default", f"uid-{number}"
    requests = found.spec.containers.add(name="main", image="app:1").resources.requests
    requests["cpu"].string, requests["memory"].string = "100m", "500Mi"
    return found


def decisions_per_second(nodes: int) -> float:
    """Over ``PODS`` pods one after the other, each seeing those before it."""
    state = SchedulerState(SchedulerSettings(), _Nothing(), time.monotonic)
    for number in range(nodes):
        state.node_changed(None, node(number))
    pods, source = [PodFacts.of(pod(number)) for number in range(PODS)], random.Random(1)
    started = time.perf_counter()
    for facts in pods:
        decision = decide(state.table, state.profiles[DEFAULT_SCHEDULER], facts, source)
        state.assume(facts, decision.node)
    return PODS / (time.perf_counter() - started)


async def decisions() -> list[Result]:
    results = []
    for nodes, name, target in SIZES:
        rate = max(decisions_per_second(nodes) for _ in range(3))
        results.append(Result(name, rate, "/s", PEER, PEER_RATE, f"≥ {target:,.0f} /s", rate >= target))
    return results
