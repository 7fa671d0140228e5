"""Per-row results that are computed once for equal questions, and again only for changed rows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from knarr.api.core.v1 import core_pb2 as core
from services.scheduler.node_table import NodeTable

Q = TypeVar("Q")

LIMIT = 512


@dataclass(slots=True)
class _Answers:
    version: int
    values: NDArray[np.generic]


class RowCache(Generic[Q]):
    """``evaluate(question, node)`` for every row; equal keys must mean equal questions."""

    def __init__(self, table: NodeTable, evaluate: Callable[[Q, core.Node], int | bool], dtype: DTypeLike) -> None:
        self._table = table
        self._evaluate = evaluate
        self._dtype = dtype
        self._entries: OrderedDict[Hashable, _Answers] = OrderedDict()

    def get(self, key: Hashable, question: Q) -> NDArray[np.generic]:
        """An array over all rows; dead rows hold zero. The array is the cache's own: do not change it."""
        table = self._table
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Answers(table.version, np.zeros(table.size, self._dtype))
            self._fill(entry, question, range(table.size))
            if len(self._entries) > LIMIT:
                self._entries.popitem(last=False)
        elif entry.version != table.version:
            if len(entry.values) < table.size:
                entry.values = np.concatenate([entry.values, np.zeros(table.size - len(entry.values), self._dtype)])
            self._fill(entry, question, table.changed_since(entry.version))
            entry.version = table.version
        self._entries.move_to_end(key)
        return entry.values

    def _fill(self, entry: _Answers, question: Q, rows: object) -> None:
        for row in rows:  # type: ignore[attr-defined]
            node = self._table.nodes[row]
            entry.values[row] = 0 if node is None else self._evaluate(question, node)
