"""All nodes at once: a table with a row a node, kept current by single changes.

Amounts are NumPy arrays over the rows, so that a filter or a score is one expression for all
nodes. A row outlives its node and is used again for the next one; ``alive`` says which rows count.
Pods of a node that is not known (yet) are remembered and counted when it comes.

``changed_since`` lets a plugin keep per-row results and recompute only the rows that changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.amounts import CPU, MEMORY, PODS, Amounts, amounts
from services.scheduler.pod_facts import Labels, PodFacts

Amount = NDArray[np.int64]
Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]

FIRST_CAPACITY = 16
REMEMBERED_CHANGES = 10_000


class Part(Enum):
    """What of the cluster changed, as far as placing pods is concerned."""

    LABELS = "labels"
    TAINTS = "taints"
    UNSCHEDULABLE = "unschedulable"
    ALLOCATABLE = "allocatable"
    # A pod left a node.
    PODS = "pods"


ALL_PARTS = frozenset(Part)


class NodeTable:
    """Nodes, what they offer and what their pods take."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.nodes: list[core.Node | None] = []
        self.alive: Mask = np.zeros(FIRST_CAPACITY, np.bool_)
        self.unschedulable: Mask = np.zeros(FIRST_CAPACITY, np.bool_)
        self.assumed_cpu: Amount = np.zeros(FIRST_CAPACITY, np.int64)
        self.assumed_memory: Amount = np.zeros(FIRST_CAPACITY, np.int64)
        self.allocatable: dict[str, Amount] = {}
        self.requested: dict[str, Amount] = {}
        # Pods by node name and uid; of nodes that are not there, too.
        self.pods: dict[str, dict[str, PodFacts]] = {}
        # How many pods with the same labels a row has, by namespace and labels.
        self.label_sets: dict[str, dict[Labels, Counter[int]]] = {}
        self._node_of: dict[str, str] = {}
        self._free: list[int] = []
        self._changes: list[int] = []
        self._forgotten = 0
        for name in (CPU, MEMORY, PODS):
            self._column(name)

    def __len__(self) -> int:
        """How many nodes there are."""
        return len(self.rows)

    @property
    def size(self) -> int:
        """Rows, dead ones included: the length of every array a plugin answers."""
        return len(self.nodes)

    @property
    def version(self) -> int:
        return self._forgotten + len(self._changes)

    def changed_since(self, version: int) -> Iterable[int]:
        """The rows whose node was added, changed or removed since ``version`` was read; all of them if that is long ago."""
        if version < self._forgotten:
            return range(self.size)
        return set(self._changes[version - self._forgotten :])

    def node(self, row: int) -> core.Node:
        found = self.nodes[row]
        assert found is not None, f"row {row} is empty"
        return found

    def pods_on(self, row: int) -> Mapping[str, PodFacts]:
        """The pods of a row's node, by uid."""
        return self.pods.get(self.node(row).metadata.name, {})

    def node_of(self, uid: str) -> str:
        """The name of the node a pod is counted on; empty when it is on none."""
        return self._node_of.get(uid, "")

    def put_node(self, node: core.Node) -> frozenset[Part]:
        """Adds or replaces a node; answers what of it changed."""
        name = node.metadata.name
        row = self.rows.get(name)
        if row is None:
            row = self._new_row(name)
            changed = ALL_PARTS
        else:
            changed = _differences(self.node(row), node)
        self.nodes[row] = node
        if Part.ALLOCATABLE in changed:
            self._set_allocatable(row, amounts(node.status.allocatable))
        self.unschedulable[row] = node.spec.unschedulable
        if changed is ALL_PARTS:
            self.alive[row] = True
            for facts in self.pods.get(name, {}).values():
                self._count(row, facts, 1)
        if changed:
            self._changed(row)
        return changed

    def remove_node(self, name: str) -> None:
        """Forgets a node; its pods are remembered until they go, too."""
        row = self.rows.pop(name, None)
        if row is None:
            return
        for facts in self.pods.get(name, {}).values():
            self._count(row, facts, -1)
        self.nodes[row] = None
        self.alive[row] = False
        self._set_allocatable(row, {})
        self._free.append(row)
        self._changed(row)

    def put_pod(self, facts: PodFacts, node_name: str) -> None:
        """Counts a pod on a node, and nowhere else."""
        self.remove_pod(facts.uid)
        self.pods.setdefault(node_name, {})[facts.uid] = facts
        self._node_of[facts.uid] = node_name
        row = self.rows.get(node_name)
        if row is not None:
            self._count(row, facts, 1)

    def remove_pod(self, uid: str) -> str:
        """Stops counting a pod; answers the node it was on, or nothing."""
        node_name = self._node_of.pop(uid, "")
        if node_name:
            facts = self.pods[node_name].pop(uid)
            if not self.pods[node_name]:
                del self.pods[node_name]
            row = self.rows.get(node_name)
            if row is not None:
                self._count(row, facts, -1)
        return node_name

    def validate(self) -> None:
        """Checks every invariant against a fresh count; for tests."""
        fresh = NodeTable()
        for name in self.rows:
            fresh.put_node(self.node(self.rows[name]))
        for node_name, pods in self.pods.items():
            for facts in pods.values():
                fresh.put_pod(facts, node_name)
        assert int(self.alive.sum()) == len(self.rows)
        for name, row in self.rows.items():
            other = fresh.rows[name]
            for resource in self.requested:
                expected = fresh.requested[resource][other] if resource in fresh.requested else 0
                assert self.requested[resource][row] == expected, (name, resource)
            assert self.assumed_cpu[row] == fresh.assumed_cpu[other] and self.assumed_memory[row] == fresh.assumed_memory[other]
        assert {uid: name for name, pods in self.pods.items() for uid in pods} == self._node_of

    def _changed(self, row: int) -> None:
        self._changes.append(row)
        if len(self._changes) > REMEMBERED_CHANGES:
            self._forgotten += len(self._changes)
            self._changes.clear()

    def _new_row(self, name: str) -> int:
        if self._free:
            row = self._free.pop()
        else:
            row = len(self.nodes)
            self.nodes.append(None)
            if row == len(self.alive):
                self._grow()
        self.rows[name] = row
        return row

    def _grow(self) -> None:
        def longer(old: NDArray[np.generic]) -> NDArray[np.generic]:
            new = np.zeros(len(old) * 2, old.dtype)
            new[: len(old)] = old
            return new

        for name in ("alive", "unschedulable", "assumed_cpu", "assumed_memory"):
            setattr(self, name, longer(getattr(self, name)))
        for columns in (self.allocatable, self.requested):
            for resource in columns:
                columns[resource] = longer(columns[resource])  # type: ignore[assignment]

    def _column(self, resource: str) -> None:
        for columns in (self.allocatable, self.requested):
            columns.setdefault(resource, np.zeros(len(self.alive), np.int64))

    def _set_allocatable(self, row: int, offered: Amounts) -> None:
        for resource in offered:
            self._column(resource)
        for resource, column in self.allocatable.items():
            column[row] = offered.get(resource, 0)

    def _count(self, row: int, facts: PodFacts, sign: int) -> None:
        for resource, amount in facts.requests.items():
            if resource not in self.requested:
                self._column(resource)
            self.requested[resource][row] += sign * amount
        self.requested[PODS][row] += sign
        self.assumed_cpu[row] += sign * facts.assumed[0]
        self.assumed_memory[row] += sign * facts.assumed[1]
        sets = self.label_sets.setdefault(facts.key.namespace, {})
        counter = sets.setdefault(facts.labels, Counter())
        counter[row] += sign
        if not counter[row]:
            del counter[row]
        if not counter:
            del sets[facts.labels]


def _differences(old: core.Node, new: core.Node) -> frozenset[Part]:
    changed = set()
    if old.metadata.labels != new.metadata.labels:
        changed.add(Part.LABELS)
    if list(old.spec.taints) != list(new.spec.taints):
        changed.add(Part.TAINTS)
    if old.spec.unschedulable != new.spec.unschedulable:
        changed.add(Part.UNSCHEDULABLE)
    if old.status.allocatable != new.status.allocatable:
        changed.add(Part.ALLOCATABLE)
    return frozenset(changed)
