"""``nodeSelector`` and required node affinity filter; preferred node affinity scores."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.node_selection import matches_pod, matches_term
from services.scheduler.nodes import Mask, Nodes, Rows
from services.scheduler.parts import NODE_LABELS, NODE_NAME, Part, Subject
from services.scheduler.plugin import Change, Cluster, Plugin, Scores, normalized
from services.scheduler.pod_facts import PodFacts, facts_of
from services.scheduler.row_cache import RowCache


class NodeAffinity(Plugin):
    name: ClassVar[str] = "NodeAffinity"
    weight: ClassVar[int] = 2
    reads: ClassVar[frozenset[Part]] = frozenset({NODE_LABELS, NODE_NAME}) | facts_of(Subject.POD, "affinity_key")

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._matching = RowCache(self.reads, _matches, np.bool_)
        self._preference = RowCache(self.reads, _preference, np.int64)

    def filter(self, pod: PodFacts, nodes: Nodes) -> Mask | None:
        return self._matching.get(nodes, pod.affinity_key, pod) if pod.affinity_key else None

    def reasons(self, pod: PodFacts, nodes: Nodes, row: int) -> list[str]:
        return ["node(s) didn't match Pod's node affinity/selector"]

    def score(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Scores | None:
        if not _preferred(pod):
            return None
        return normalized(self._preference.get(nodes, pod.affinity_key, pod)[rows])

    def mends(self, pod: PodFacts, nodes: Nodes, change: Change) -> bool:
        return change.row is None or _matches(pod, nodes.node(change.row))


def _matches(pod: PodFacts, node: core.Node) -> bool:
    return matches_pod(pod.pod.spec, node)


def _preferred(pod: PodFacts) -> list[core.PreferredSchedulingTerm]:
    return list(pod.pod.spec.affinity.node_affinity.preferred_during_scheduling_ignored_during_execution)


def _preference(pod: PodFacts, node: core.Node) -> int:
    # An empty preference is one for every node: it makes no difference.
    return sum(term.weight for term in _preferred(pod) if matches_term(term.preference, node))
