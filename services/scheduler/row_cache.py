"""Per-row results that are computed once for equal questions, and again only for rows whose node changed in what they depend on."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from knarr.api.core.v1 import core_pb2 as core
from services.scheduler.nodes import Nodes
from services.scheduler.parts import Part, Subject
from services.scheduler.tally import resized

Q = TypeVar("Q")
S = TypeVar("S", bound=np.generic)

LIMIT = 512


@dataclass(slots=True)
class _Answers(Generic[S]):
    version: int
    values: NDArray[S]
    # Whether any of them is not zero; None: not looked yet.
    some: bool | None = None


class RowCache(Generic[Q, S]):
    """``evaluate(question, node)`` for every row.

    Equal keys must mean equal questions: what the result depends on besides the node is in the key. ``reads`` are the parts that it
    depends on; those of the node decide which rows are computed again. Raises ValueError for a part that the table does not compare.
    """

    def __init__(self, reads: Iterable[Part], evaluate: Callable[[Q, core.Node], int | bool], dtype: type[S]) -> None:
        self._reads = frozenset(part for part in reads if part.subject is Subject.NODE)
        self._evaluate = evaluate
        self._dtype = dtype
        self._table: Nodes | None = None
        self._entries: OrderedDict[Hashable, _Answers[S]] = OrderedDict()

    def get(self, nodes: Nodes, key: Hashable, question: Q) -> NDArray[S]:
        """An array over all rows; dead rows hold zero. The array is the cache's own: do not change it."""
        values = self._of_table(nodes.table, key, question)
        changed = nodes.changed_rows(self._reads)
        if not changed and len(values) == nodes.size:
            return values
        values = resized(values, nodes.size)
        self._fill(values, nodes, question, changed)
        return values

    def some(self, nodes: Nodes, key: Hashable, question: Q) -> NDArray[S] | None:
        """The same; None where all rows hold zero."""
        values, entry = self.get(nodes, key, question), self._entries[key]
        if values is not entry.values:
            return values if values.any() else None
        if entry.some is None:
            entry.some = bool(values.any())
        return values if entry.some else None

    def _of_table(self, table: Nodes, key: Hashable, question: Q) -> NDArray[S]:
        if table is not self._table:
            self._adopt(table)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Answers(table.version, np.zeros(table.size, self._dtype))
            self._fill(entry.values, table, question, range(table.size))
            if len(self._entries) > LIMIT:
                self._entries.popitem(last=False)
        elif entry.version != table.version:
            if len(entry.values) < table.size:
                entry.values = resized(entry.values, table.size)
            self._fill(entry.values, table, question, table.changed_since(entry.version, self._reads))
            entry.version, entry.some = table.version, None
        self._entries.move_to_end(key)
        return entry.values

    def _adopt(self, table: Nodes) -> None:
        unknown = self._reads - table.parts
        if unknown:
            raise ValueError(
                f"the table does not compare {', '.join(sorted(part.path for part in unknown))} of nodes: results would go stale"
            )
        self._table = table
        self._entries.clear()

    def _fill(self, values: NDArray[Any], nodes: Nodes, question: Q, rows: Iterable[int]) -> None:
        for row in rows:
            node = nodes.nodes[row]
            values[row] = 0 if node is None else self._evaluate(question, node)
