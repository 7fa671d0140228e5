"""The domains of a node label: nodes that share its value. Rules on other pods count by them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np

from knarr.api.core.v1 import core_pb2 as core
from services.scheduler.nodes import Amount, Mask, Nodes
from services.scheduler.parts import Part
from services.scheduler.row_cache import RowCache

# Names of nodes come and go; numbers of values that are gone are given up beyond so many.
NUMBERS_KEPT = 65_536


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
        self._reads = frozenset(reads)
        self._numbers = RowCache(self._reads, self._number, np.int64)
        # The labels that nodes of a table have had up to a version.
        self._table: Nodes | None = None
        self._labels: set[str] = set()
        self._version = 0
        self._known: dict[str, dict[str, int]] = {}
        self._generation = 0

    def of(self, nodes: Nodes, label: str) -> Domain:
        if not self._is_there(nodes, label):
            # A pod can name any label, and many pods many: what no node has costs nothing.
            return Domain(np.zeros(nodes.size, np.int64), 0)
        if len(self._known.setdefault(label, {})) > NUMBERS_KEPT:
            self._known[label] = {}
            self._generation += 1
        key: Hashable = (label, self._generation)
        numbers = self._numbers.get(nodes, key, label)
        return Domain(numbers, len(self._known[label]))

    def _is_there(self, nodes: Nodes, label: str) -> bool:
        """Whether a node may have the label."""
        table = nodes.table
        if table is not self._table:
            self._table, self._version = table, table.version
            self._labels.clear()
            self._note(table, range(table.size))
        elif table.version != self._version:
            self._note(table, table.changed_since(self._version, self._reads))
            self._version = table.version
        changed = (nodes.nodes[row] for row in nodes.changed_rows(self._reads))
        return label in self._labels or any(node is not None and label in node.metadata.labels for node in changed)

    def _note(self, table: Nodes, rows: Iterable[int]) -> None:
        for row in rows:
            node = table.nodes[row]
            if node is not None:
                self._labels.update(node.metadata.labels)

    def _number(self, label: str, node: core.Node) -> int:
        # Asked before it is read: reading a map of the contracts adds what is missing.
        if label not in node.metadata.labels:
            return 0
        known = self._known[label]
        return known.setdefault(node.metadata.labels[label], len(known) + 1)
