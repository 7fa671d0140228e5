"""The table of nodes as the scheduler knows them now, kept current by single changes.

``changed_since`` lets a row cache compute again only the rows that changed in what it depends on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.amounts import CPU, MEMORY, PODS
from services.scheduler.likeness import Likeness
from services.scheduler.nodes import Amount, Nodes
from services.scheduler.parts import NODE_ALLOCATABLE, NODE_UNSCHEDULABLE, Part, Subject
from services.scheduler.pod_facts import PodFacts
from services.scheduler.tally import Asked, Question, Tallies

FIRST_CAPACITY = 16
REMEMBERED_CHANGES = 10_000
# To reckon more rows anew takes longer than to reckon all at once.
REMEMBERED_TOUCHES = 4_000
# What its own columns hold.
COLUMNS = frozenset({NODE_ALLOCATABLE, NODE_UNSCHEDULABLE})


class NodeTable(Nodes):
    """Nodes and pods by single changes. ``parts``: what is compared when a node changes, beside what the columns hold."""

    def __init__(self, parts: Iterable[Part] = ()) -> None:
        self.parts = COLUMNS | {part for part in parts if part.subject is Subject.NODE}
        self.rows = {}
        self.nodes = []
        self.alive = np.zeros(FIRST_CAPACITY, np.bool_)
        self.unschedulable = np.zeros(FIRST_CAPACITY, np.bool_)
        self.assumed_cpu = np.zeros(FIRST_CAPACITY, np.int64)
        self.assumed_memory = np.zeros(FIRST_CAPACITY, np.int64)
        self.allocatable = {}
        self.requested = {}
        self._free = []
        # By node name and uid; of nodes that are not there, too.
        self._pods: dict[str, dict[str, PodFacts]] = {}
        self._node_of: dict[str, str] = {}
        # How many pods have which priority.
        self.priorities: Counter[int] = Counter()
        self._tallies = Tallies()
        self._followers: list[set[str]] = []
        self._changes: list[tuple[int, frozenset[Part]]] = []
        self._forgotten = 0
        # Rows in the order in which they were touched, after so many that are forgotten.
        self._touched: list[int] = []
        self._touched_before = 0
        for name in (CPU, MEMORY, PODS):
            self._add_column(name)

    @property
    def table(self) -> NodeTable:
        return self

    def changed_rows(self, parts: frozenset[Part]) -> Collection[int]:
        return ()

    @property
    def version(self) -> int:
        return self._forgotten + len(self._changes)

    def changed_since(self, version: int, parts: frozenset[Part]) -> Iterable[int]:
        if version < self._forgotten:
            return range(self.size)
        return {row for row, changed in self._changes[version - self._forgotten :] if not changed.isdisjoint(parts)}

    @property
    def touches(self) -> int:
        return self._touched_before + len(self._touched)

    def touched_since(self, touches: int) -> Collection[int] | None:
        return set(self._touched[touches - self._touched_before :]) if touches >= self._touched_before else None

    def touched_rows(self) -> Collection[int]:
        return ()

    def node_of(self, uid: str) -> str:
        return self._node_of.get(uid, "")

    def pods_of(self, node_name: str) -> Mapping[str, PodFacts]:
        return self._pods.get(node_name, {})

    def show_pod(self, pod: core.Pod) -> None:
        """Takes a pod of which nothing has changed that counts as it is now."""
        uid = pod.metadata.uid
        name = self._node_of[uid]
        pods = self._pods[name]
        pods[uid] = replace(pods[uid], pod=pod)
        if name in self.rows:
            # Who is to go first is told by more than what counts.
            self._touch(self.rows[name])

    def follow_pods(self) -> set[str]:
        """The uids of pods that came to a node, changed or left it, from now on; first all that are there. The caller empties it."""
        follower = set(self._node_of)
        self._followers.append(follower)
        return follower

    def forget_follower(self, follower: set[str]) -> None:
        """Of ``follow_pods``: it is not told any more."""
        self._followers = [other for other in self._followers if other is not follower]

    def tally(self, question: Question) -> Amount | None:
        return self._tallies.answer(question, self.size)

    @property
    def asked(self) -> Asked:
        return self._tallies.asked

    def validate(self) -> None:
        """Checks every invariant against a fresh count; for tests."""
        fresh = NodeTable(self.parts)
        for name in self.rows:
            fresh.put_node(self.node(self.rows[name]))
        for node_name, pods in self._pods.items():
            assert pods, node_name
            for facts in pods.values():
                fresh.put_pod(facts, node_name)
        assert int(self.alive.sum()) == len(self.rows)
        for name, row in self.rows.items():
            other = fresh.rows[name]
            for resource in self.requested:
                expected = fresh.requested[resource][other] if resource in fresh.requested else 0
                assert self.requested[resource][row] == expected, (name, resource)
            assert self.assumed_cpu[row] == fresh.assumed_cpu[other] and self.assumed_memory[row] == fresh.assumed_memory[other]
        self._tallies.validate()
        assert self.priorities == fresh.priorities
        assert {uid: name for name, pods in self._pods.items() for uid in pods} == self._node_of

    def _writable(self, name: str) -> Any:
        return getattr(self, name)

    def _writable_column(self, columns: str, resource: str) -> Amount:
        found: Amount = getattr(self, columns)[resource]
        return found

    def _keep(self, facts: PodFacts, node_name: str) -> None:
        self._tell_followers(facts.uid)
        self._pods.setdefault(node_name, {})[facts.uid] = facts
        self._node_of[facts.uid] = node_name
        self.priorities[facts.priority] += 1

    def _drop(self, uid: str, node_name: str) -> PodFacts:
        self._tell_followers(uid)
        del self._node_of[uid]
        facts = self._pods[node_name].pop(uid)
        self.priorities[facts.priority] -= 1
        if not self.priorities[facts.priority]:
            del self.priorities[facts.priority]
        if not self._pods[node_name]:
            del self._pods[node_name]
        return facts

    def _tell_followers(self, uid: str) -> None:
        for follower in self._followers:
            follower.add(uid)

    def _count_likeness(self, row: int, likeness: Likeness, sign: int) -> None:
        self._tallies.add(likeness, row, sign)

    def _changed(self, row: int, parts: frozenset[Part]) -> None:
        self._changes.append((row, parts))
        if len(self._changes) > REMEMBERED_CHANGES:
            self._forgotten += len(self._changes)
            self._changes.clear()

    def _touch(self, row: int) -> None:
        self._touched.append(row)
        if len(self._touched) > REMEMBERED_TOUCHES:
            half = len(self._touched) // 2
            del self._touched[:half]
            self._touched_before += half
