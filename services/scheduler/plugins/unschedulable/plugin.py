"""Nodes that were cordoned (``spec.unschedulable``) take only pods that tolerate it."""

from __future__ import annotations

from typing import ClassVar

from knarr.objects.tolerations import UNSCHEDULABLE_TAINT, tolerates
from services.scheduler.node_table import Mask, Part
from services.scheduler.plugins.plugin import Plugin
from services.scheduler.pod_facts import PodFacts


class Unschedulable(Plugin):
    name: ClassVar[str] = "NodeUnschedulable"
    mended_by: ClassVar[frozenset[Part]] = frozenset({Part.UNSCHEDULABLE})

    def filter(self, pod: PodFacts) -> Mask | None:
        cordoned = self.table.unschedulable[: self.table.size]
        if not cordoned.any() or any(tolerates(toleration, UNSCHEDULABLE_TAINT) for toleration in pod.pod.spec.tolerations):
            return None
        return ~cordoned

    def reasons(self, pod: PodFacts, row: int) -> list[str]:
        return ["node(s) were unschedulable"]
