"""A node whose CPU and memory would be used evenly is the better one: what is left of one without the other is of no use to anybody."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from knarr.objects.amounts import CPU, MEMORY
from services.scheduler.nodes import Nodes, Rows
from services.scheduler.parts import NODE_ALLOCATABLE, Part, Subject
from services.scheduler.plugin import MAX_SCORE, Plugin, Scores
from services.scheduler.pod_facts import PodFacts, facts_of


class BalancedAllocation(Plugin):
    name: ClassVar[str] = "NodeResourcesBalancedAllocation"
    reads: ClassVar[frozenset[Part]] = (
        frozenset({NODE_ALLOCATABLE}) | facts_of(Subject.POD, "requests") | facts_of(Subject.PLACED, "requests")
    )

    def score(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Scores | None:
        if not any(pod.requests.get(resource, 0) for resource in (CPU, MEMORY)):
            return None
        cpu, memory = (_share(nodes, resource, pod.requests.get(resource, 0), rows) for resource in (CPU, MEMORY))
        scores: Scores = ((1.0 - np.abs(cpu - memory) / 2) * MAX_SCORE).astype(np.int64)
        return scores


def _share(nodes: Nodes, resource: str, more: int, rows: Rows) -> NDArray[np.float64]:
    """Which part of what a node offers would be asked for, at most 1; 0 where it offers nothing."""
    offered = nodes.allocatable[resource][rows]
    asked = nodes.requested[resource][rows] + more
    share: NDArray[np.float64] = np.minimum(asked / np.maximum(offered, 1), 1.0) * (offered > 0)
    return share
