"""Nodes that were cordoned (``spec.unschedulable``) take only pods that tolerate it."""

from __future__ import annotations

from typing import ClassVar

from knarr.objects.tolerations import UNSCHEDULABLE_TAINT, tolerates
from services.scheduler.nodes import Mask, Nodes
from services.scheduler.parts import NODE_UNSCHEDULABLE, Part, Subject
from services.scheduler.plugin import CORDONED, Change, Plugin
from services.scheduler.pod_facts import PodFacts


class Unschedulable(Plugin):
    name: ClassVar[str] = "NodeUnschedulable"
    reads: ClassVar[frozenset[Part]] = frozenset({NODE_UNSCHEDULABLE, Part(Subject.POD, "spec.tolerations")})

    def filter(self, pod: PodFacts, nodes: Nodes) -> Mask | None:
        cordoned = nodes.unschedulable[: nodes.size]
        if not cordoned.any() or any(tolerates(toleration, UNSCHEDULABLE_TAINT) for toleration in pod.pod.spec.tolerations):
            return None
        return ~cordoned

    def mends(self, pod: PodFacts, nodes: Nodes, change: Change) -> bool:
        return change.row is None or self.accepts(pod, nodes, change.row)

    def hindrance(self, pod: PodFacts, nodes: Nodes, row: int) -> str:
        return CORDONED

    def reasons(self, pod: PodFacts, nodes: Nodes, row: int) -> list[str]:
        return ["node(s) were unschedulable"]
