"""The domains of a node label: nodes that share its value. Rules on other pods count by them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from knarr.api.core.v1 import core_pb2 as core
from services.scheduler.nodes import Amount, Mask, Nodes
from services.scheduler.parts import Part
from services.scheduler.row_cache import RowCache

# Names of nodes come and go; numbers of values that are gone are given up beyond so many.
NUMBERS_KEPT = 65_536
# As many labels as pods ask by; more than a row cache keeps answers for are of no use.
LABELS_KEPT = 1024


@dataclass(frozen=True, slots=True)
class Domain:
    """The domains of one label. ``numbers`` has a number for each row: equal for rows of one domain, 0 for those without the label."""

    numbers: Amount
    count: int

    @property
    def labelled(self) -> Mask:
        has: Mask = self.numbers > 0
        return has

    def sums(self, counts: Amount, rows: Mask | None = None) -> Amount:
        """For each domain's number what its rows count together; only those of the mask ``rows``, where that is given."""
        counted = np.where(rows, counts, 0) if rows is not None else counts
        # Sums of doubles are exact up to 2**53.
        sums: Amount = np.bincount(self.numbers, counted, self.count + 1).astype(np.int64)
        sums[0] = 0
        return sums

    def spread(self, counts: Amount, rows: Mask | None = None) -> Amount:
        """For each row what the rows of its domain count together."""
        spread: Amount = self.sums(counts, rows)[self.numbers]
        return spread


class Domains:
    """By label. A table's answers are kept, and made again for nodes that changed in what the plugin ``reads``: their labels, at least."""

    def __init__(self, reads: Iterable[Part]) -> None:
        self._numbers = RowCache(reads, self._number, np.int64)
        self._known: dict[str, dict[str, int]] = {}
        self._generation = 0

    def __len__(self) -> int:
        """Of how many labels something is known."""
        return len(self._known)

    def of(self, nodes: Nodes, label: str) -> Domain:
        known = self._known.get(label)
        if known is None and len(self._known) >= LABELS_KEPT:
            self._forget(self._known)
        elif known is not None and len(known) > NUMBERS_KEPT:
            self._forget(known)
        self._known.setdefault(label, {})
        key: Hashable = (label, self._generation)
        numbers = self._numbers.get(nodes, key, label)
        return Domain(numbers, len(self._known[label]))

    def _forget(self, numbers: dict[str, Any]) -> None:
        """Others are given from now on, and what is kept with these holds no more."""
        numbers.clear()
        self._generation += 1

    def _number(self, label: str, node: core.Node) -> int:
        # Asked before it is read: reading a map of the contracts adds what is missing.
        if label not in node.metadata.labels:
            return 0
        known = self._known[label]
        return known.setdefault(node.metadata.labels[label], len(known) + 1)
