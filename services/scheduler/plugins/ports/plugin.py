"""A host port belongs to one pod of a node."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from services.scheduler.node_table import Mask, Part
from services.scheduler.plugins.plugin import Change, Plugin
from services.scheduler.pod_facts import PodFacts


class Ports(Plugin):
    name: ClassVar[str] = "NodePorts"
    mended_by: ClassVar[frozenset[Part]] = frozenset({Part.PODS})

    def filter(self, pod: PodFacts) -> Mask | None:
        if not pod.host_ports:
            return None
        free = np.ones(self.table.size, np.bool_)
        for row in self.table.rows.values():
            free[row] = self._is_free(pod, row)
        return free

    def reasons(self, pod: PodFacts, row: int) -> list[str]:
        return ["node(s) didn't have free ports for the requested pod ports"]

    def mends(self, pod: PodFacts, change: Change) -> bool:
        return Part.PODS in change.parts and self.table.nodes[change.row] is not None and self._is_free(pod, change.row)

    def _is_free(self, pod: PodFacts, row: int) -> bool:
        taken = [port for other in self.table.pods_on(row).values() for port in other.host_ports]
        return not any(wanted.clashes(port) for wanted in pod.host_ports for port in taken)
