"""What was found out about single nodes for one question, kept for the next equal one: of a node that nothing has touched it holds.

Pods that need room come mostly in many alike, and who is to go for one leaves all other nodes as they were."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from services.scheduler.node_table import NodeTable

T = TypeVar("T")
LIMIT = 16


class Judgements(Generic[T]):
    """Of one table. Equal keys must mean equal questions."""

    def __init__(self) -> None:
        self._table: NodeTable | None = None
        self._known: OrderedDict[Hashable, tuple[int, dict[int, T]]] = OrderedDict()

    def of(self, table: NodeTable, key: Hashable) -> dict[int, T]:
        """By row what still holds; whoever judges another one adds it."""
        if table is not self._table:
            self._table = table
            self._known.clear()
        touches, found = self._known.pop(key, (table.touches, {}))
        touched = table.touched_since(touches)
        if touched is None:
            found = {}
        for row in touched or ():
            found.pop(row, None)
        self._known[key] = table.touches, found
        if len(self._known) > LIMIT:
            self._known.popitem(last=False)
        return found
