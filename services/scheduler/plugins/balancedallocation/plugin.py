"""A node whose CPU and memory – or the resources that a profile names – would be used more evenly with the pod than they are is the better
one: what is left of one without the other is of no use to anybody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from services.scheduler.nodes import Amount, Mask, Nodes, Rows, of_rows
from services.scheduler.parts import NODE_ALLOCATABLE, Part, Subject
from services.scheduler.placed_cache import PlacedCache
from services.scheduler.plugin import MAX_SCORE, Cluster, Plugin, Scores
from services.scheduler.pod_facts import PodFacts, facts_of
from services.scheduler.scored_resources import Compared, NodeResourcesBalancedAllocationArgs, compared

HALF = MAX_SCORE // 2


class BalancedAllocation(Plugin):
    name: ClassVar[str] = "NodeResourcesBalancedAllocation"
    reads: ClassVar[frozenset[Part]] = (
        frozenset({NODE_ALLOCATABLE}) | facts_of(Subject.POD, "requests") | facts_of(Subject.PLACED, "requests")
    )
    Args: ClassVar[type[Any] | None] = NodeResourcesBalancedAllocationArgs

    def __init__(self, cluster: Cluster, args: NodeResourcesBalancedAllocationArgs | None = None) -> None:
        super().__init__(cluster)
        self._resources = [resource.name for resource in (args or NodeResourcesBalancedAllocationArgs()).compared]
        self._scores: PlacedCache[np.int64] = PlacedCache(self._scored, self._scored_one)

    def score(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Scores | None:
        if not any(pod.requests.get(resource, 0) for resource in self._resources) or not self._compared(pod, nodes):
            return None
        return of_rows(self._scores.get(pod, nodes, pod.asked_key), rows)

    def _scored(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Scores:
        columns = self._compared(pod, nodes)
        found = [one.as_is(rows) for one in columns]
        there = [offered > 0 for offered, _ in found]
        before = [_share(offered, taken, has) for (offered, taken), has in zip(found, there, strict=True)]
        after = [_share(offered, taken + one.asked, has) for one, (offered, taken), has in zip(columns, found, there, strict=True)]
        return _told(_evenness(after, there), _evenness(before, there))

    def _scored_one(self, pod: PodFacts, nodes: Nodes, row: int) -> int:
        found = self._compared(pod, nodes)
        if len(found) != 2:
            return int(self._scored(pod, nodes, np.array([row], np.intp))[0])
        one, other = found
        after, before = _evenness_of_two(one.at(row), other.at(row)), _evenness_of_two(one.as_is_at(row), other.as_is_at(row))
        return HALF + (HALF + after - before) // 2

    def _compared(self, pod: PodFacts, nodes: Nodes) -> Sequence[Compared]:
        """The resources that count for this pod."""
        return [found for name in self._resources if (found := compared(nodes, pod, name, assumed=False)) is not None]


def _told(after: Scores, before: Scores) -> Scores:
    """75 where nothing changes, 100 where a node is as uneven as can be and is even then, 50 the other way round."""
    told: Scores = HALF + (HALF + after - before) // 2
    return told


def _evenness(shares: list[NDArray[np.float64]], there: list[Mask]) -> Scores:
    """Whole numbers as they are cut off, 50 to 100."""
    found: Scores = ((1.0 - _deviation(shares, there)) * MAX_SCORE).astype(np.int64)
    return found


def _evenness_of_two(one: tuple[int, int], other: tuple[int, int]) -> int:
    """The same of one node, of which two resources are compared: each what it offers and what is taken."""
    (offered, taken), (other_offered, other_taken) = one, other
    apart = abs(min(taken / offered, 1.0) - min(other_taken / other_offered, 1.0)) / 2 if offered > 0 and other_offered > 0 else 0.0
    return int((1.0 - apart) * MAX_SCORE)


def _share(offered: Amount, taken: Amount, there: Mask) -> NDArray[np.float64]:
    """Which part of what a node offers would be asked for, at most 1; 0 where it offers nothing."""
    share: NDArray[np.float64] = np.minimum(taken / np.maximum(offered, 1), 1.0) * there
    return share


def _deviation(shares: list[NDArray[np.float64]], there: list[Mask]) -> NDArray[np.float64]:
    """The standard deviation of the shares of each node, of what it has."""
    if len(shares) == 2:
        apart: NDArray[np.float64] = np.abs(shares[0] - shares[1]) / 2
        return apart * (there[0] & there[1])
    mask, table = np.stack(there), np.stack(shares)
    count = mask.sum(axis=0)
    away = np.where(mask, table - table.sum(axis=0) / np.maximum(count, 1), 0.0)
    # Of two it is half of what they differ by, and to be that exactly.
    half = (np.where(mask, table, -1.0).max(axis=0) - np.where(mask, table, 2.0).min(axis=0)) / 2
    deviation: NDArray[np.float64] = np.where(count == 2, half, np.sqrt((away**2).sum(axis=0) / np.maximum(count, 1)))
    return deviation
