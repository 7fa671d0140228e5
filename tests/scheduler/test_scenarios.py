"""Golden scenarios: nodes and pods in, placements and reasons out.

Each ``scenarios/<name>.input.yaml`` holds nodes, services, volumes and pods; pods without a node are placed
in their order, each seeing the ones before it. The result is compared with
``<name>.output.yaml``; ``pytest --rewrite`` writes it anew, and you read the difference.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.machinery import codec
from services.scheduler.decide import decide, explain
from services.scheduler.pod_facts import PodFacts
from services.scheduler.profile import DEFAULT_SCHEDULER
from services.scheduler.settings import SchedulerSettings
from services.scheduler.state import SchedulerState
from tests.scheduler.objects import Objects
from tests.support import golden

SCENARIOS = Path(__file__).parent / "scenarios"
DEVICES = (resource.DeviceClass, resource.ResourceSlice, resource.DeviceTaintRule)
CLUSTER_SCOPED = (core.Node, core.PersistentVolume, storage.StorageClass, storage.CSINode, storage.CSIDriver, *DEVICES)
KINDS = (*CLUSTER_SCOPED, core.Pod, core.Service, core.PersistentVolumeClaim, storage.CSIStorageCapacity, resource.ResourceClaim)
TYPES = {kind.DESCRIPTOR.name: kind for kind in KINDS}


def load(path: Path) -> list[Any]:
    found = []
    for document in yaml.safe_load_all(path.read_text()):
        obj: Any = codec.from_json(TYPES[document["kind"]], document, codec.UnknownFields.REJECT).message
        if not isinstance(obj, CLUSTER_SCOPED):
            obj.metadata.namespace = obj.metadata.namespace or "default"
        if isinstance(obj, core.Pod):
            obj.metadata.uid = f"uid-{obj.metadata.name}"
        found.append(obj)
    return found


def play(objects: Sequence[Any]) -> dict[str, Any]:
    """Places the pods and tells, for each, where it went and what was said of every node."""
    others = [obj for obj in objects if not isinstance(obj, (core.Node, core.Pod))]
    state = SchedulerState(SchedulerSettings(), Objects(*others), lambda: 0.0)
    pods = [obj for obj in objects if isinstance(obj, core.Pod)]
    for obj in objects:
        if isinstance(obj, core.Node):
            state.node_changed(None, obj)
    for pod in pods:
        if pod.spec.node_name:
            state.pod_changed(None, pod)
    told = {}
    for pod in pods:
        if not pod.spec.node_name:
            told[pod.metadata.name] = place(state, PodFacts.of(pod))
    state.validate()
    return told


def place(state: SchedulerState, pod: PodFacts) -> dict[str, Any]:
    verdicts = explain(state.table, state.profiles[DEFAULT_SCHEDULER], pod)
    decision = decide(state.table, state.profiles[DEFAULT_SCHEDULER], pod, random.Random(0))
    nodes = {
        verdict.node: f"{verdict.refused_by}: {', '.join(verdict.reasons)}" if verdict.refused_by else dict(sorted(verdict.scores.items()))
        for verdict in verdicts
    }
    if decision.node:
        best = max(verdict.total for verdict in verdicts if not verdict.refused_by)
        assert next(verdict for verdict in verdicts if verdict.node == decision.node).total == best
        state.assume(pod, decision.node)
        return {"node": decision.node, "verdicts": nodes}
    return {"message": decision.summary, "verdicts": nodes}


@pytest.mark.parametrize("source", sorted(SCENARIOS.glob("*.input.yaml")), ids=lambda path: path.name.removesuffix(".input.yaml"))
def test_scenario(source: Path) -> None:
    told = play(load(source))
    expected = source.with_name(source.name.replace(".input.", ".output."))
    golden.check(expected, yaml.safe_dump(told, sort_keys=True, width=160))


def test_there_are_scenarios() -> None:
    assert len(list(SCENARIOS.glob("*.input.yaml"))) >= 5
