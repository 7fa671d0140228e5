"""A node takes what fits into its allocatable resources; the emptier node is the better one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from knarr.objects.amounts import CPU, MEMORY, PODS
from services.scheduler.node_table import Amount, Mask, Part, Rows
from services.scheduler.plugins.plugin import MAX_SCORE, Change, Plugin, Scores
from services.scheduler.pod_facts import PodFacts


class Resources(Plugin):
    name: ClassVar[str] = "NodeResourcesFit"
    mended_by: ClassVar[frozenset[Part]] = frozenset({Part.ALLOCATABLE, Part.PODS})

    def filter(self, pod: PodFacts) -> Mask | None:
        size = self.table.size
        fits: Mask = np.ones(size, np.bool_)
        for resource, amount in _needs(pod):
            if resource not in self.table.allocatable:
                return np.zeros(size, np.bool_)
            fits &= self.table.requested[resource][:size] + amount <= self.table.allocatable[resource][:size]
        return fits

    def reasons(self, pod: PodFacts, row: int) -> list[str]:
        short = [resource for resource, amount in _needs(pod) if self._left(resource, row) < amount]
        return ["Too many pods" if resource == PODS else f"Insufficient {resource}" for resource in short]

    def score(self, pod: PodFacts, rows: Rows) -> Scores | None:
        table = self.table
        cpu = _share_left(table.allocatable[CPU][rows], table.assumed_cpu[rows] + pod.assumed[0])
        memory = _share_left(table.allocatable[MEMORY][rows], table.assumed_memory[rows] + pod.assumed[1])
        return (cpu + memory) // 2

    def mends(self, pod: PodFacts, change: Change) -> bool:
        if not self.mended_by & change.parts or self.table.nodes[change.row] is None:
            return False
        return all(self._left(resource, change.row) >= amount for resource, amount in _needs(pod))

    def _left(self, resource: str, row: int) -> int:
        offered = self.table.allocatable.get(resource)
        return int(offered[row] - self.table.requested[resource][row]) if offered is not None else 0


def _needs(pod: PodFacts) -> Iterator[tuple[str, int]]:
    yield PODS, 1
    for resource, amount in pod.requests.items():
        if amount > 0:
            yield resource, amount


def _share_left(offered: Amount, taken: Amount) -> Scores:
    """Percent of what a node offers that would be left; 0 when it is overrun or offers nothing."""
    left = np.maximum(offered - taken, 0)
    return np.where(offered > 0, left * MAX_SCORE // np.maximum(offered, 1), 0)
