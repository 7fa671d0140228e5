"""Pods are spread over domains of nodes: ``topologySpreadConstraints``, those that forbid as a filter, the others as a score.

Pods that ask for nothing are spread over machines and zones as Kubernetes' scheduler does by default, or as a profile says. By
Kubernetes' documentation of topology spread constraints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.node_selection import matches_pod
from knarr.objects.tolerations import NO_EXECUTE, NO_SCHEDULE, untolerated
from services.scheduler.domains import Domains
from services.scheduler.nodes import Mask, Nodes, Rows
from services.scheduler.parts import NODE_LABELS, NODE_NAME, NODE_TAINTS, Part, Subject
from services.scheduler.plugin import MAX_SCORE, Change, Cluster, Plugin, Scores
from services.scheduler.plugins.podtopologyspread.arguments import LIST, PodTopologySpreadArgs
from services.scheduler.plugins.podtopologyspread.constraints import HOSTNAME, Constraint, asked_by, assumed_for
from services.scheduler.pod_facts import PodFacts, facts_of
from services.scheduler.row_cache import RowCache
from services.scheduler.ruled import Ruled

UNEVEN = "node(s) didn't match pod topology spread constraints"
UNLABELLED = "node(s) didn't match pod topology spread constraints (missing required label)"
# The least of no domains: nothing is too far from it.
NO_LEAST = 2**31 - 1


class PodTopologySpread(Ruled, Plugin):
    name: ClassVar[str] = "PodTopologySpread"
    weight: ClassVar[int] = 2
    reads: ClassVar[frozenset[Part]] = (
        frozenset({NODE_LABELS, NODE_NAME, NODE_TAINTS})
        | {Part(Subject.SERVICE, "spec.selector"), Part(Subject.POD, "spec.topologySpreadConstraints")}
        | facts_of(Subject.POD, "labels", "owner", "affinity_key", "toleration_key")
        | facts_of(Subject.PLACED, "labels", "owner", "ending")
    )
    helped_by_arrivals: ClassVar[bool] = True
    LASTING: ClassVar[frozenset[str]] = frozenset({UNLABELLED})
    across: ClassVar[bool] = True

    Args: ClassVar[type[Any] | None] = PodTopologySpreadArgs

    def __init__(self, cluster: Cluster, args: PodTopologySpreadArgs | None = None) -> None:
        super().__init__(cluster)
        self._args = args or PodTopologySpreadArgs()
        self._domains = Domains(self.reads)
        self._selected = RowCache(self.reads, _is_selected, np.bool_)
        self._tolerated = RowCache(self.reads, _is_tolerated, np.bool_)
        # Of the pod that was asked about last: the filter and the score of a decision are about the same.
        self._asked: tuple[PodFacts, Sequence[Constraint]] | None = None

    def indifferent(self, pod: PodFacts, nodes: Nodes) -> bool:
        return not self._forbidding(pod)

    def minded(self, pod: PodFacts) -> Callable[[PodFacts], bool]:
        constraints = self._forbidding(pod)
        return lambda other: any(one.counts(other.likeness, pod.key.namespace) for one in constraints)

    def mends(self, pod: PodFacts, nodes: Nodes, change: Change) -> bool:
        if not change.of_pod:
            return change.row is None or self.accepts_some(pod, nodes)

        def counts(constraint: Constraint, other: PodFacts | None) -> bool:
            return other is not None and constraint.counts(other.likeness, pod.key.namespace)

        return any(counts(one, change.left) != counts(one, change.came) for one in self._forbidding(pod))

    def score(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Scores | None:
        crowds = self.crowds(pod, nodes, rows)
        if crowds is None:
            return None
        counted, total = crowds
        # Halves are rounded up, as they are in Kubernetes.
        found = np.floor(total + 0.5).astype(np.int64)
        least, most = int(found[counted].min()), int(found[counted].max())
        scores = (MAX_SCORE * (most + least - found) // most) if most else np.full(nodes.size, MAX_SCORE, np.int64)
        judged = np.zeros(nodes.size, np.bool_)
        judged[counted] = True
        scored: Scores = np.where(judged, scores, 0)[rows]
        return scored

    def crowds(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> tuple[Rows, NDArray[np.float64]] | None:
        """Which of the rows are compared, and how full the domains of each row are together; None where that makes no difference."""
        constraints = [one for one in self._asked_by(pod) or assumed_for(pod, self.cluster, self._args) if not one.forbids]
        if not constraints:
            return None
        counted = rows if constraints[0].assumed else rows[self._labelled(nodes, constraints)[rows]]
        if not len(counted):
            return None
        total: NDArray[np.float64] = np.zeros(nodes.size)
        for constraint in constraints:
            total += self._crowd(pod, nodes, constraint, constraints, counted)
        return counted, total

    def rules(self, pod: PodFacts, nodes: Nodes) -> Iterator[tuple[str, Mask]]:
        """Two rules a constraint that forbids: that the node has the label, and that its domain is not too full."""
        constraints = self._forbidding(pod)
        if not constraints:
            return
        labelled = self._labelled(nodes, constraints)
        for constraint in constraints:
            domain = self._domains.of(nodes, constraint.label)
            yield UNLABELLED, domain.labelled
            eligible = labelled & self._included(pod, nodes, constraint)
            counts = nodes.tally(constraint.question(pod.key.namespace))
            sums = domain.sums(counts, eligible) if counts is not None else np.zeros(domain.count + 1, np.int64)
            present = np.zeros(domain.count + 1, np.bool_)
            present[domain.numbers[eligible]] = True
            least = 0 if int(present.sum()) < constraint.min_domains else int(sums[present].min(initial=NO_LEAST))
            itself = int(constraint.selector.matches(pod.labels))
            yield UNEVEN, sums[domain.numbers] + itself - least <= constraint.max_skew

    def _crowd(self, pod: PodFacts, nodes: Nodes, constraint: Constraint, all_of: Sequence[Constraint], counted: Rows) -> NDArray[Any]:
        """How full the domain of each row is, the more the fewer domains there are."""
        domain = self._domains.of(nodes, constraint.label)
        counts = nodes.tally(constraint.question(pod.key.namespace))
        among = np.zeros(domain.count + 1, np.bool_)
        among[domain.numbers[counted]] = True
        among[0] = False
        if constraint.label == HOSTNAME:
            size, found = len(counted), counts
        else:
            # By default those without a label are together one domain more: it counts for how many there are, and for nothing else.
            size = int(among.sum()) + int(constraint.assumed and not domain.labelled[counted].all())
            eligible = self._included(pod, nodes, constraint) & among[domain.numbers]
            if not constraint.assumed:
                eligible &= self._labelled(nodes, all_of)
            found = domain.spread(counts, eligible) if counts is not None else None
        has = domain.labelled
        full: NDArray[Any] = (found * math.log(size + 2) if found is not None else 0.0) + (constraint.max_skew - 1) * has
        return full * has

    def _asked_by(self, pod: PodFacts) -> Sequence[Constraint]:
        if self._asked is None or self._asked[0] is not pod:
            self._asked = pod, asked_by(pod)
        return self._asked[1]

    def _forbidding(self, pod: PodFacts) -> Sequence[Constraint]:
        asked = self._asked_by(pod)
        if not asked and self._args.defaulting_type == LIST:
            asked = assumed_for(pod, self.cluster, self._args)
        return [one for one in asked if one.forbids]

    def _labelled(self, nodes: Nodes, constraints: Sequence[Constraint]) -> Mask:
        """Rows that have the labels of all constraints."""
        labelled: Mask = nodes.alive[: nodes.size].copy()
        for constraint in constraints:
            labelled &= self._domains.of(nodes, constraint.label).labelled
        return labelled

    def _included(self, pod: PodFacts, nodes: Nodes, constraint: Constraint) -> Mask:
        """Rows whose pods count: by default those that the pod's node selector and affinity allow, whatever their taints."""
        included: Mask = nodes.alive[: nodes.size].copy()
        if constraint.honors_affinity and pod.affinity_key:
            included &= self._selected.get(nodes, pod.affinity_key, pod)
        if constraint.honors_taints:
            included &= self._tolerated.get(nodes, pod.toleration_key, pod)
        return included


def _is_selected(pod: PodFacts, node: core.Node) -> bool:
    return matches_pod(pod.pod.spec, node)


def _is_tolerated(pod: PodFacts, node: core.Node) -> bool:
    return not untolerated(pod.pod.spec.tolerations, node.spec.taints, (NO_SCHEDULE, NO_EXECUTE))
