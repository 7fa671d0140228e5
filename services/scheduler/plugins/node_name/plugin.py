"""A pod that names its node goes nowhere else."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from services.scheduler.node_table import Mask, Part
from services.scheduler.plugins.plugin import Change, Plugin
from services.scheduler.pod_facts import PodFacts


class NodeName(Plugin):
    name: ClassVar[str] = "NodeName"
    mended_by: ClassVar[frozenset[Part]] = frozenset({Part.LABELS})

    def filter(self, pod: PodFacts) -> Mask | None:
        wanted = pod.pod.spec.node_name
        if not wanted:
            return None
        mask = np.zeros(self.table.size, np.bool_)
        row = self.table.rows.get(wanted)
        if row is not None:
            mask[row] = True
        return mask

    def reasons(self, pod: PodFacts, row: int) -> list[str]:
        return ["node(s) didn't match the requested node name"]

    def mends(self, pod: PodFacts, change: Change) -> bool:
        return self.table.rows.get(pod.pod.spec.node_name) == change.row
