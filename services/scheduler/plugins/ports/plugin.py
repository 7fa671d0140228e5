"""A host port belongs to one pod of a node."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from services.scheduler.nodes import Mask, Nodes
from services.scheduler.parts import Part, Subject
from services.scheduler.plugin import Change, Plugin
from services.scheduler.pod_facts import PodFacts, facts_of


class Ports(Plugin):
    name: ClassVar[str] = "NodePorts"
    concerned_by: ClassVar[frozenset[str]] = frozenset({"host_ports"})
    reads: ClassVar[frozenset[Part]] = facts_of(Subject.POD, "host_ports") | facts_of(Subject.PLACED, "host_ports")

    def filter(self, pod: PodFacts, nodes: Nodes) -> Mask | None:
        if not pod.host_ports:
            return None
        free = np.ones(nodes.size, np.bool_)
        for row in np.flatnonzero(nodes.alive[: nodes.size]):
            free[row] = _is_free(pod, nodes, int(row))
        return free

    def accepts(self, pod: PodFacts, nodes: Nodes, row: int) -> bool:
        return not pod.host_ports or _is_free(pod, nodes, row)

    def reasons(self, pod: PodFacts, nodes: Nodes, row: int) -> list[str]:
        return ["node(s) didn't have free ports for the requested pod ports"]

    def mends(self, pod: PodFacts, nodes: Nodes, change: Change) -> bool:
        return change.row is None or self.accepts(pod, nodes, change.row)


def _is_free(pod: PodFacts, nodes: Nodes, row: int) -> bool:
    taken = [port for other in nodes.pods_on(row).values() for port in other.host_ports]
    return not any(wanted.clashes(port) for wanted in pod.host_ports for port in taken)
