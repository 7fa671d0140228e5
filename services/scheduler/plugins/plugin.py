"""What a scheduler plugin is: a filter, a score or both, over all nodes at once."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from knarr.api.core.v1 import core_pb2 as core
from services.scheduler.node_table import Mask, NodeTable, Part, Rows
from services.scheduler.pod_facts import PodFacts

MAX_SCORE = 100

Scores = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Change:
    """Something that may make a pod schedulable: what changed, and the row of the node where it did."""

    parts: frozenset[Part]
    row: int


class Cluster(abc.ABC):
    """What plugins may ask besides the nodes."""

    @abc.abstractmethod
    def services(self, namespace: str) -> Sequence[core.Service]:
        """The Services of a namespace."""


class Plugin(abc.ABC):
    """One rule. Stateless but for caches: the same table and pod give the same answer."""

    # As `Explain` names it.
    name: ClassVar[str]
    # What the score counts, of all scores.
    weight: ClassVar[int] = 1
    # Changes that may mend this filter's refusal.
    mended_by: ClassVar[frozenset[Part]] = frozenset()

    def __init__(self, table: NodeTable, cluster: Cluster) -> None:
        self.table = table
        self.cluster = cluster

    def filter(self, pod: PodFacts) -> Mask | None:
        """Which rows the pod may be placed on; None means all. Dead rows may hold anything."""
        return None

    def reasons(self, pod: PodFacts, row: int) -> list[str]:
        """Why the filter refuses a row, in the words of the FailedScheduling event."""
        return []

    def score(self, pod: PodFacts, rows: Rows) -> Scores | None:
        """How good each of the rows is, 0 to 100; None when it makes no difference."""
        return None

    def mends(self, pod: PodFacts, change: Change) -> bool:
        """Whether a change may end this filter's refusal of a waiting pod."""
        return bool(self.mended_by & change.parts)


def normalized(values: NDArray[np.int64], *, reverse: bool = False) -> Scores:
    """Scales to 0 … 100 by the largest value; ``reverse`` makes the smallest value the best."""
    highest = int(values.max(initial=0))
    if highest == 0:
        return np.full(len(values), MAX_SCORE if reverse else 0, np.int64)
    scaled = values * MAX_SCORE // highest
    return MAX_SCORE - scaled if reverse else scaled
