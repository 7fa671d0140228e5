"""All nodes at once, as plugins read them: a table with a row a node. ``NodeTable`` holds it, ``View`` shows it with changes.

Amounts are NumPy arrays over the rows, so that a filter or a score is one expression for all nodes. A row outlives its node and is
used again for the next one; ``alive`` says which rows count. Pods of a node that is not known (yet) are remembered and counted when
it comes. How a change is counted is written here once, for the table and the view.
"""

from __future__ import annotations

import abc
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.amounts import PODS, Amounts, amounts
from services.scheduler.likeness import Likeness
from services.scheduler.parts import NODE_ALLOCATABLE, Part, differing
from services.scheduler.pod_facts import PodFacts, bounded
from services.scheduler.tally import Asked, Question, resized

Amount = NDArray[np.int64]
Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]
S = TypeVar("S", bound=np.generic)


def rows_of(mask: Mask) -> Rows:
    """The rows of a mask, in order. All of them, as often, are quickest counted and told."""
    return np.arange(len(mask)) if np.count_nonzero(mask) == len(mask) else mask.nonzero()[0]


def of_rows(values: NDArray[S], rows: Rows) -> NDArray[S]:
    """The values of some rows, which are in order, each once; all of them are not copied: do not change the answer."""
    return values if len(rows) == len(values) else values.take(rows)


class Nodes(abc.ABC):
    """Nodes, what they offer and what their pods take. Arrays have a value for each row, and may be longer than ``size``."""

    # Rows by node name; only of nodes that are there.
    rows: dict[str, int]
    # By row; None where a row is free.
    nodes: list[core.Node | None]
    alive: Mask
    unschedulable: Mask
    # What pods take when nodes are compared: those that ask for nothing are taken to use something.
    assumed_cpu: Amount
    assumed_memory: Amount
    # By resource, in whole units.
    allocatable: dict[str, Amount]
    requested: dict[str, Amount]
    # Parts of nodes by which a change is judged.
    parts: frozenset[Part]
    _free: list[int]

    def __len__(self) -> int:
        """How many nodes there are."""
        return len(self.rows)

    @property
    def size(self) -> int:
        """Rows, dead ones included: the length of every array a plugin answers."""
        return len(self.nodes)

    @property
    @abc.abstractmethod
    def table(self) -> Nodes:
        """The table that it is, or shows with changes."""

    @property
    @abc.abstractmethod
    def version(self) -> int:
        """The table's; grows with every change of a node in one of ``parts``."""

    @abc.abstractmethod
    def changed_since(self, version: int, parts: frozenset[Part]) -> Iterable[int]:
        """The rows whose node came, went or changed in the table in one of ``parts`` since ``version`` was; all if that is long ago."""

    @abc.abstractmethod
    def changed_rows(self, parts: frozenset[Part]) -> Collection[int]:
        """The rows whose node differs from the table's in one of the parts."""

    @property
    @abc.abstractmethod
    def touches(self) -> int:
        """The table's; grows each time that one of its rows is touched: the amounts change that it offers, or that its pods take."""

    @abc.abstractmethod
    def touched_since(self, touches: int) -> Collection[int] | None:
        """The table's rows that were touched since there were so many touches; None if that is too long ago to say."""

    @abc.abstractmethod
    def touched_rows(self) -> Collection[int]:
        """The rows whose amounts may differ from the table's."""

    @abc.abstractmethod
    def node_of(self, uid: str) -> str:
        """The name of the node a pod is counted on; empty when it is on none."""

    @abc.abstractmethod
    def pods_of(self, node_name: str) -> Mapping[str, PodFacts]:
        """The pods of a node by uid; of one that is not there, too."""

    @abc.abstractmethod
    def tally(self, question: Question) -> Amount | None:
        """What the pods of each row count together by a question; None where none counts anything. Do not change the array."""

    @property
    @abc.abstractmethod
    def asked(self) -> Asked:
        """The labels in whose domains placed pods ask something of others; perhaps some too many."""

    def node(self, row: int) -> core.Node:
        found = self.nodes[row]
        assert found is not None, f"row {row} is empty"
        return found

    def pods_on(self, row: int) -> Mapping[str, PodFacts]:
        """The pods of a row's node, by uid."""
        return self.pods_of(self.node(row).metadata.name)

    def put_node(self, node: core.Node) -> frozenset[Part]:
        """Adds or replaces a node; answers which of ``parts`` changed: all of them for one that was not there."""
        name = node.metadata.name
        known = self.rows.get(name)
        row = self._new_row(name) if known is None else known
        changed = self.parts if known is None else differing(self.parts, self.node(row), node)
        self._writable("nodes")[row] = node
        if NODE_ALLOCATABLE in changed:
            self._set_allocatable(row, bounded(amounts(node.status.allocatable)))
        self._writable("unschedulable")[row] = node.spec.unschedulable
        if known is None:
            self._writable("alive")[row] = True
            for facts in self.pods_of(name).values():
                self._count(row, facts, 1)
        if changed:
            self._changed(row, changed)
        return changed

    def remove_node(self, name: str) -> None:
        """Forgets a node; its pods are remembered until they go, too."""
        if name not in self.rows:
            return
        row = self._writable("rows").pop(name)
        for facts in self.pods_of(name).values():
            self._count(row, facts, -1)
        self._writable("nodes")[row] = None
        self._writable("alive")[row] = False
        self._set_allocatable(row, {})
        self._writable("_free").append(row)
        self._changed(row, self.parts)

    def put_pod(self, facts: PodFacts, node_name: str) -> None:
        """Counts a pod on a node, and nowhere else."""
        self.remove_pod(facts.uid)
        self._keep(facts, node_name)
        row = self.rows.get(node_name)
        if row is not None:
            self._count(row, facts, 1)

    def remove_pod(self, uid: str) -> str:
        """Stops counting a pod; answers the node it was on, or nothing."""
        node_name = self.node_of(uid)
        if node_name:
            facts = self._drop(uid, node_name)
            row = self.rows.get(node_name)
            if row is not None:
                self._count(row, facts, -1)
        return node_name

    @abc.abstractmethod
    def _writable(self, name: str) -> Any:
        """One of the arrays, ``rows``, ``nodes`` and ``_free``, to be written to."""

    @abc.abstractmethod
    def _writable_column(self, columns: str, resource: str) -> Amount:
        """An array of ``allocatable`` or ``requested``, to be written to."""

    @abc.abstractmethod
    def _keep(self, facts: PodFacts, node_name: str) -> None:
        """Remembers on which node a pod is."""

    @abc.abstractmethod
    def _drop(self, uid: str, node_name: str) -> PodFacts:
        """Forgets on which node a pod is."""

    @abc.abstractmethod
    def _count_likeness(self, row: int, likeness: Likeness, sign: int) -> None: ...

    @abc.abstractmethod
    def _touch(self, row: int) -> None:
        """Notes that amounts of a row change."""

    @abc.abstractmethod
    def _changed(self, row: int, parts: frozenset[Part]) -> None:
        """Notes that the node of a row changed."""

    def _new_row(self, name: str) -> int:
        free = self._writable("_free")
        if free:
            row: int = free.pop()
        else:
            row = len(self.nodes)
            self._writable("nodes").append(None)
            if row == len(self.alive):
                self._grow()
        self._writable("rows")[name] = row
        return row

    def _grow(self) -> None:
        size = 2 * len(self.alive)
        for name in ("alive", "unschedulable", "assumed_cpu", "assumed_memory"):
            setattr(self, name, resized(getattr(self, name), size))
        for columns in (self.allocatable, self.requested):
            for resource in columns:
                columns[resource] = resized(columns[resource], size)

    def _add_column(self, resource: str) -> None:
        for columns in (self.allocatable, self.requested):
            if resource not in columns:
                columns[resource] = np.zeros(len(self.alive), np.int64)

    def _set_allocatable(self, row: int, offered: Amounts) -> None:
        self._touch(row)
        for resource in offered:
            self._add_column(resource)
        for resource in self.allocatable:
            self._writable_column("allocatable", resource)[row] = offered.get(resource, 0)

    def _count(self, row: int, facts: PodFacts, sign: int) -> None:
        self._touch(row)
        for resource, amount in facts.requests.items():
            if resource not in self.requested:
                self._add_column(resource)
            self._writable_column("requested", resource)[row] += sign * amount
        self._writable_column("requested", PODS)[row] += sign
        self._writable("assumed_cpu")[row] += sign * facts.assumed[0]
        self._writable("assumed_memory")[row] += sign * facts.assumed[1]
        self._count_likeness(row, facts.likeness, sign)
