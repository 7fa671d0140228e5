"""A pod that names its node goes nowhere else."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from services.scheduler.nodes import Mask, Nodes
from services.scheduler.parts import NODE_NAME, Part, Subject
from services.scheduler.plugin import Change, Plugin
from services.scheduler.pod_facts import PodFacts, facts_of


class NodeName(Plugin):
    name: ClassVar[str] = "NodeName"
    concerned_by: ClassVar[frozenset[str]] = frozenset({"node_name"})
    reads: ClassVar[frozenset[Part]] = frozenset({NODE_NAME}) | facts_of(Subject.POD, "node_name")

    def filter(self, pod: PodFacts, nodes: Nodes) -> Mask | None:
        wanted = pod.node_name
        if not wanted:
            return None
        mask = np.zeros(nodes.size, np.bool_)
        row = nodes.rows.get(wanted)
        if row is not None:
            mask[row] = True
        return mask

    def reasons(self, pod: PodFacts, nodes: Nodes, row: int) -> list[str]:
        return ["node(s) didn't match the requested node name"]

    def mends(self, pod: PodFacts, nodes: Nodes, change: Change) -> bool:
        return change.row is None or nodes.rows.get(pod.node_name) == change.row
