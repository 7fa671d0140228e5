"""A table of nodes with proposed changes: "what if this pod were gone, that node cordoned?".

The table is never touched: what a change writes to is copied before. Pods and label counts are kept for touched nodes only; of the
arrays, those are copied that a change writes to (NumPy has no array that shares all but one row with another). A view is good until
the table changes: it is made, asked and dropped within one decision.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from services.scheduler.likeness import Likeness
from services.scheduler.node_table import NodeTable
from services.scheduler.nodes import Amount, Nodes
from services.scheduler.parts import Part
from services.scheduler.pod_facts import PodFacts
from services.scheduler.tally import Asked, Question, resized

NOTHING: Amount = np.zeros(0, np.int64)
_SHARED = ("rows", "nodes", "alive", "unschedulable", "assumed_cpu", "assumed_memory", "_free")


class View(Nodes):
    """Begins as the table is, with pods that are ``placed`` on nodes besides; ``put_pod``, ``remove_pod``, ``put_node`` and ``remove_node``
    change what it shows."""

    def __init__(self, table: NodeTable, placed: Iterable[tuple[PodFacts, str]] = ()) -> None:
        self._table = table
        self.parts = table.parts
        for name in _SHARED:
            setattr(self, name, getattr(table, name))
        self.allocatable, self.requested = dict(table.allocatable), dict(table.requested)
        self._own: set[str | tuple[str, str]] = set()
        # Of touched nodes and pods only; a pod on no node has an empty name.
        self._pods: dict[str, dict[str, PodFacts]] = {}
        self._node_of: dict[str, str] = {}
        # How many more pods of a likeness a row has than in the table.
        self._more: dict[Likeness, Counter[int]] = {}
        self._changed_parts: dict[int, frozenset[Part]] = {}
        self._touched: set[int] = set()
        for facts, node_name in placed:
            self.put_pod(facts, node_name)

    @property
    def table(self) -> Nodes:
        return self._table

    @property
    def version(self) -> int:
        return self._table.version

    def changed_since(self, version: int, parts: frozenset[Part]) -> Iterable[int]:
        return self._table.changed_since(version, parts)

    def changed_rows(self, parts: frozenset[Part]) -> Collection[int]:
        return [row for row, changed in self._changed_parts.items() if not changed.isdisjoint(parts)]

    @property
    def touches(self) -> int:
        return self._table.touches

    def touched_since(self, touches: int) -> Collection[int] | None:
        return self._table.touched_since(touches)

    def touched_rows(self) -> Collection[int]:
        return self._touched

    def node_of(self, uid: str) -> str:
        known = self._node_of.get(uid)
        return self._table.node_of(uid) if known is None else known

    def pods_of(self, node_name: str) -> Mapping[str, PodFacts]:
        known = self._pods.get(node_name)
        return self._table.pods_of(node_name) if known is None else known

    def tally(self, question: Question) -> Amount | None:
        counted = self._table.tally(question)
        changes = [(likeness, rows) for likeness, rows in self._more.items() if question.concerns(likeness)]
        more = [(weight, rows) for likeness, rows in changes if (weight := question.count(likeness))]
        if not more:
            return counted if counted is None or len(counted) == self.size else resized(counted, self.size)
        shown = resized(counted if counted is not None else NOTHING, self.size)
        for weight, rows in more:
            shown[np.fromiter(rows, np.intp, len(rows))] += weight * np.fromiter(rows.values(), np.int64, len(rows))
        return shown if shown.any() else None

    @property
    def asked(self) -> Asked:
        of_table = self._table.asked
        own = [likeness for likeness in self._more if likeness.affinity]
        if not own:
            return of_table
        asked = Asked(of_table.away.copy(), of_table.liked.copy())
        for likeness in own:
            asked.add(likeness, 1)
        return asked

    def _writable(self, name: str) -> Any:
        if name not in self._own:
            setattr(self, name, getattr(self, name).copy())
            self._own.add(name)
        return getattr(self, name)

    def _writable_column(self, columns: str, resource: str) -> Amount:
        found: dict[str, Amount] = getattr(self, columns)
        if (columns, resource) not in self._own:
            found[resource] = found[resource].copy()
            self._own.add((columns, resource))
        return found[resource]

    def _keep(self, facts: PodFacts, node_name: str) -> None:
        self._writable_pods(node_name)[facts.uid] = facts
        self._node_of[facts.uid] = node_name

    def _drop(self, uid: str, node_name: str) -> PodFacts:
        self._node_of[uid] = ""
        return self._writable_pods(node_name).pop(uid)

    def _writable_pods(self, node_name: str) -> dict[str, PodFacts]:
        found = self._pods.get(node_name)
        if found is None:
            found = self._pods[node_name] = dict(self._table.pods_of(node_name))
        return found

    def _count_likeness(self, row: int, likeness: Likeness, sign: int) -> None:
        rows = self._more.get(likeness)
        if rows is None:
            rows = self._more[likeness] = Counter()
        rows[row] += sign
        if not rows[row]:
            del rows[row]
            if not rows:
                del self._more[likeness]

    def _touch(self, row: int) -> None:
        self._touched.add(row)

    def _changed(self, row: int, parts: frozenset[Part]) -> None:
        self._changed_parts[row] = self._changed_parts.get(row, frozenset()) | parts
