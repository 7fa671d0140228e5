"""Pods that were promised a node on which room is being made for them.

The promise is in the pod's status (``nominatedNodeName``), so it outlives the scheduler. Until the pod is there, pods of no higher
priority are judged as if it were.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.scheduler.node_table import NodeTable
from services.scheduler.nodes import Nodes
from services.scheduler.pod_facts import PodFacts
from services.scheduler.view import View


class Nominations:
    """By the uids of pods."""

    def __init__(self) -> None:
        self._promised: dict[str, tuple[PodFacts, str]] = {}
        # The view that was shown last, with what the table was then, and who is on it.
        self._shown: tuple[object, View, dict[str, str]] | None = None

    def node_of(self, uid: str) -> str:
        """The node that a pod was promised; empty without."""
        return self._promised[uid][1] if uid in self._promised else ""

    def of(self, uid: str) -> tuple[PodFacts, str] | None:
        """A pod with the node that it was promised."""
        return self._promised.get(uid)

    def put(self, pod: PodFacts, node: str) -> None:
        """Promises a pod a node; an empty one takes the promise back."""
        if node:
            self._promised[pod.uid] = pod, node
        else:
            self.remove(pod.uid)

    def remove(self, uid: str) -> str:
        """Takes a promise back; answers the node."""
        node = self.node_of(uid)
        self._promised.pop(uid, None)
        return node

    def before(self, pod: PodFacts) -> Sequence[tuple[PodFacts, str]]:
        """Who is not to be overtaken by a pod, with the nodes."""
        return [(other, node) for other, node in self._promised.values() if other.priority >= pod.priority and other.uid != pod.uid]

    def behind(self, pod: PodFacts, node: str) -> Sequence[PodFacts]:
        """Those of lower priority that were promised a node which the pod is promised now."""
        return [other for other in self.on(node) if other.priority < pod.priority]

    def on(self, node: str) -> Sequence[PodFacts]:
        """The pods that were promised a node."""
        return [pod for pod, at in self._promised.values() if at == node]

    def seen_by(self, pod: PodFacts, table: NodeTable) -> Nodes:
        """The nodes as a pod is to see them, until the table changes."""
        before = {other.uid: node for other, node in self.before(pod)}
        if not before:
            return table
        state = (id(table), table.touches, table.version, table.size)
        if self._shown is None or self._shown[0] != state or not self._shown[2].items() <= before.items():
            self._shown = state, View(table), {}
        _, view, shown = self._shown
        for uid in before.keys() - shown.keys():
            if not view.node_of(uid):
                view.put_pod(*self._promised[uid])
        shown.update(before)
        return view

    def shown_to(self, pod: PodFacts, view: View) -> View:
        """The view, with those on their nodes whom a pod is not to overtake."""
        for other, node in self.before(pod):
            if not view.node_of(other.uid):
                view.put_pod(other, node)
        return view
