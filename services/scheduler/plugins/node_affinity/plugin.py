"""``nodeSelector`` and required node affinity filter; preferred node affinity scores. A profile may ask for more (``addedAffinity``)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.node_selection import matches_pod, matches_selector, matches_term, names_in
from services.scheduler.nodes import Mask, Nodes, Rows
from services.scheduler.parts import NODE_LABELS, NODE_NAME, Part, Subject
from services.scheduler.plugin import Change, Cluster, Plugin, Scores, normalized
from services.scheduler.plugins.node_affinity.arguments import NodeAffinityArgs
from services.scheduler.pod_facts import PodFacts, facts_of
from services.scheduler.row_cache import RowCache
from services.scheduler.ruled import ToldTogether

NOT_MATCHED = "node(s) didn't match Pod's node affinity/selector"
NOT_ENFORCED = "node(s) didn't match scheduler-enforced node affinity"
# Of nodes that are not among those which the pod names.
NOT_NAMED = "node(s) didn't satisfy plugin(s) [NodeAffinity]"
CONFLICT = "pod affinity terms conflict"


class NodeAffinity(ToldTogether, Plugin):
    name: ClassVar[str] = "NodeAffinity"
    weight: ClassVar[int] = 2
    reads: ClassVar[frozenset[Part]] = frozenset({NODE_LABELS, NODE_NAME}) | facts_of(Subject.POD, "affinity_key")

    Args: ClassVar[type[Any] | None] = NodeAffinityArgs

    def __init__(self, cluster: Cluster, args: NodeAffinityArgs | None = None) -> None:
        super().__init__(cluster)
        self._matching = RowCache(self.reads, _matches, np.bool_)
        self._preference = RowCache(self.reads, _preference, np.int64)
        added = (args or NodeAffinityArgs()).added_affinity or core.NodeAffinity()
        required = added.HasField("required_during_scheduling_ignored_during_execution")
        self._added = added.required_during_scheduling_ignored_during_execution if required else None
        self._added_preferred = tuple(added.preferred_during_scheduling_ignored_during_execution)
        self._allowed = RowCache(self.reads, matches_selector, np.bool_)

    def impossible(self, pod: PodFacts) -> str:
        return CONFLICT if pod.affinity_key and names_in(pod.pod.spec) == frozenset() else ""

    def excluded(self, pod: PodFacts, nodes: Nodes) -> Mask | None:
        named = names_in(pod.pod.spec) if pod.affinity_key else None
        if named is None:
            return None
        excluded: Mask = np.ones(nodes.size, np.bool_)
        excluded[[nodes.rows[name] for name in named if name in nodes.rows]] = False
        return excluded

    def filter(self, pod: PodFacts, nodes: Nodes) -> Mask | None:
        allowed = None if self._added is None else self._allowed.get(nodes, "added", self._added)
        if not pod.affinity_key:
            return allowed
        matching = self._matching.get(nodes, pod.affinity_key, pod)
        return matching if allowed is None else matching & allowed

    def all_reasons(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Iterable[list[str]]:
        named = names_in(pod.pod.spec)
        for row in rows.tolist():
            if named is not None and nodes.node(row).metadata.name not in named:
                yield [NOT_NAMED]
            else:
                yield [NOT_MATCHED if self._is_allowed(nodes, row) else NOT_ENFORCED]

    def score(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Scores | None:
        own = _preferred(pod)
        if not own and not self._added_preferred:
            return None
        terms = (*self._added_preferred, *own)
        # What is added is the same for all pods that come here.
        return normalized(self._preference.get(nodes, pod.affinity_key, terms)[rows])

    def mends(self, pod: PodFacts, nodes: Nodes, change: Change) -> bool:
        return change.row is None or (self._is_allowed(nodes, change.row) and _matches(pod, nodes.node(change.row)))

    def _is_allowed(self, nodes: Nodes, row: int) -> bool:
        return self._added is None or matches_selector(self._added, nodes.node(row))


def _matches(pod: PodFacts, node: core.Node) -> bool:
    return matches_pod(pod.pod.spec, node)


def _preferred(pod: PodFacts) -> list[core.PreferredSchedulingTerm]:
    return list(pod.pod.spec.affinity.node_affinity.preferred_during_scheduling_ignored_during_execution)


def _preference(terms: Sequence[core.PreferredSchedulingTerm], node: core.Node) -> int:
    # An empty preference is one for every node: it makes no difference.
    return sum(term.weight for term in terms if matches_term(term.preference, node))
