"""What is reckoned for each row from its node and the pods on it, kept for equal questions: of a row that no pod came to or left, and whose
node offers what it did, the answer stands. Pods come mostly in many alike, one after the other, and each changes one row for the next."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.scheduler.nodes import Nodes, Rows
from services.scheduler.pod_facts import PodFacts
from services.scheduler.tally import resized

S = TypeVar("S", bound=np.generic)

# Each takes some bytes a row.
LIMIT = 64
# Arrays of so few rows take longer to be set up than to be reckoned with.
FEW = 8


@dataclass(slots=True)
class _Answers(Generic[S]):
    """As they were when so many rows had been touched."""

    touches: int
    values: NDArray[S]


class PlacedCache(Generic[S]):
    """``evaluate(pod, nodes, rows)`` gives a value for each of the rows, from what the columns hold of those rows alone; ``evaluate_one``
    gives the same of a single row, where few are to be reckoned anew.

    Equal keys must mean equal questions. A view costs a copy, and the rows in which it differs from the table."""

    def __init__(
        self, evaluate: Callable[[PodFacts, Nodes, Rows], NDArray[S]], evaluate_one: Callable[[PodFacts, Nodes, int], int] | None = None
    ) -> None:
        self._evaluate, self._evaluate_one = evaluate, evaluate_one
        self._table: Nodes | None = None
        self._entries: OrderedDict[Hashable, _Answers[S]] = OrderedDict()

    def get(self, pod: PodFacts, nodes: Nodes, key: Hashable) -> NDArray[S]:
        """An array over all rows; dead rows hold anything. The array is the cache's own: do not change it."""
        values = self._of_table(pod, nodes.table, key)
        if nodes is nodes.table:
            return values
        return self._with(values, pod, nodes, sorted(nodes.touched_rows()))

    def _of_table(self, pod: PodFacts, table: Nodes, key: Hashable) -> NDArray[S]:
        if table is not self._table:
            self._table = table
            self._entries.clear()
        entry = self._entries.get(key)
        rows = table.touched_since(entry.touches) if entry is not None else None
        if entry is None or rows is None:
            entry = self._entries[key] = _Answers(table.touches, self._evaluate(pod, table, np.arange(table.size)))
            if len(self._entries) > LIMIT:
                self._entries.popitem(last=False)
        elif rows:
            entry.values = self._with(entry.values, pod, table, sorted(rows), own=True)
            entry.touches = table.touches
        self._entries.move_to_end(key)
        return entry.values

    def _with(self, values: NDArray[S], pod: PodFacts, nodes: Nodes, rows: list[int], *, own: bool = False) -> NDArray[S]:
        """The values with those rows reckoned anew; changed in place where they are ``own`` and long enough."""
        if not own or len(values) < nodes.size:
            values = resized(values, nodes.size)
        if self._evaluate_one is not None and len(rows) <= FEW:
            for row in rows:
                values[row] = self._evaluate_one(pod, nodes, row)
        elif rows:
            some = np.array(rows, np.intp)
            values[some] = self._evaluate(pod, nodes, some)
        return values
