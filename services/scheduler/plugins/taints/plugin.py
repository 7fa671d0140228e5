"""Taints keep pods off a node (NoSchedule, NoExecute) or make it less liked (PreferNoSchedule)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.tolerations import NO_EXECUTE, NO_SCHEDULE, PREFER_NO_SCHEDULE, UNSCHEDULABLE_TAINT, untolerated
from services.scheduler.nodes import Mask, Nodes, Rows, of_rows
from services.scheduler.parts import NODE_TAINTS, Part, Subject
from services.scheduler.plugin import CORDONED, Change, Cluster, Plugin, Scores, normalized
from services.scheduler.pod_facts import PodFacts
from services.scheduler.row_cache import RowCache

FORBIDDING = (NO_SCHEDULE, NO_EXECUTE)
# Of events, which do not name them: there are as many as nodes have.
UNTOLERATED = "node(s) had untolerated taint(s)"


class Taints(Plugin):
    name: ClassVar[str] = "TaintToleration"
    weight: ClassVar[int] = 3
    reads: ClassVar[frozenset[Part]] = frozenset({NODE_TAINTS, Part(Subject.POD, "spec.tolerations")})

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._allowed = RowCache(self.reads, _is_allowed, np.bool_)
        self._disliked = RowCache(self.reads, _count_disliked, np.int64)

    def filter(self, pod: PodFacts, nodes: Nodes) -> Mask | None:
        return self._allowed.get(nodes, pod.toleration_key, pod)

    def reasons(self, pod: PodFacts, nodes: Nodes, row: int) -> list[str]:
        return [UNTOLERATED]

    def details(self, pod: PodFacts, nodes: Nodes, row: int) -> Sequence[str]:
        return [f"untolerated {_named(_forbidding(pod, nodes.node(row)))}"]

    def mends(self, pod: PodFacts, nodes: Nodes, change: Change) -> bool:
        return change.row is None or _is_allowed(pod, nodes.node(change.row))

    def hindrance(self, pod: PodFacts, nodes: Nodes, row: int) -> str:
        taints = _forbidding(pod, nodes.node(row))
        if all(taint.key == UNSCHEDULABLE_TAINT.key for taint in taints):
            return CORDONED
        return _named(taints)

    def score(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Scores | None:
        counts = self._disliked.some(nodes, pod.toleration_key, pod)
        if counts is None:
            return None
        found = of_rows(counts, rows)
        return normalized(found, reverse=True) if found.any() else None


def _named(taints: Sequence[core.Taint]) -> str:
    return f"{'taint' if len(taints) == 1 else 'taints'} {', '.join(f'{{{taint.key}: {taint.value}}}' for taint in taints)}"


def _forbidding(pod: PodFacts, node: core.Node) -> list[core.Taint]:
    return untolerated(pod.pod.spec.tolerations, node.spec.taints, FORBIDDING)


def _is_allowed(pod: PodFacts, node: core.Node) -> bool:
    return not _forbidding(pod, node)


def _count_disliked(pod: PodFacts, node: core.Node) -> int:
    # A toleration for NoSchedule alone says nothing about PreferNoSchedule.
    return len(untolerated(pod.pod.spec.tolerations, node.spec.taints, (PREFER_NO_SCHEDULE,)))
