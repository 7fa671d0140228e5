"""``nodeSelector`` and required node affinity filter; preferred node affinity scores."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.node_selection import matches_pod, matches_term
from services.scheduler.node_table import Mask, NodeTable, Part, Rows
from services.scheduler.plugins.plugin import Change, Cluster, Plugin, Scores, normalized
from services.scheduler.pod_facts import PodFacts
from services.scheduler.row_cache import RowCache


class NodeAffinity(Plugin):
    name: ClassVar[str] = "NodeAffinity"
    weight: ClassVar[int] = 2
    mended_by: ClassVar[frozenset[Part]] = frozenset({Part.LABELS})

    def __init__(self, table: NodeTable, cluster: Cluster) -> None:
        super().__init__(table, cluster)
        self._matching: RowCache[PodFacts] = RowCache(table, _matches, np.bool_)
        self._preference: RowCache[PodFacts] = RowCache(table, _preference, np.int64)

    def filter(self, pod: PodFacts) -> Mask | None:
        return self._matching.get(pod.affinity_key, pod) if pod.affinity_key else None  # type: ignore[return-value]

    def reasons(self, pod: PodFacts, row: int) -> list[str]:
        return ["node(s) didn't match Pod's node affinity/selector"]

    def score(self, pod: PodFacts, rows: Rows) -> Scores | None:
        if not _preferred(pod):
            return None
        weights: Scores = self._preference.get(pod.affinity_key, pod)[rows]  # type: ignore[assignment]
        return normalized(weights)

    def mends(self, pod: PodFacts, change: Change) -> bool:
        node = self.table.nodes[change.row]
        return Part.LABELS in change.parts and node is not None and _matches(pod, node)


def _matches(pod: PodFacts, node: core.Node) -> bool:
    return matches_pod(pod.pod.spec, node)


def _preferred(pod: PodFacts) -> list[core.PreferredSchedulingTerm]:
    return list(pod.pod.spec.affinity.node_affinity.preferred_during_scheduling_ignored_during_execution)


def _preference(pod: PodFacts, node: core.Node) -> int:
    # An empty preference is one for every node: it makes no difference.
    return sum(term.weight for term in _preferred(pod) if matches_term(term.preference, node))
