"""Pods of one ReplicaSet or one Service are spread: the node with fewer of them is the better one.

Pods of one controller carry the same labels, so they are counted by label set; a Service counts
the label sets that its selector chooses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from services.scheduler.node_table import Rows
from services.scheduler.plugins.plugin import Plugin, Scores, normalized
from services.scheduler.pod_facts import Labels, PodFacts


class Spreading(Plugin):
    name: ClassVar[str] = "PodSpreading"
    weight: ClassVar[int] = 2

    def score(self, pod: PodFacts, rows: Rows) -> Scores | None:
        sets = self.table.label_sets.get(pod.key.namespace)
        if not sets:
            return None
        counts = np.zeros(self.table.size, np.int64)
        for labels in self._related(pod, sets):
            for row, count in sets[labels].items():
                counts[row] += count
        return normalized(counts[rows], reverse=True) if counts.any() else None

    def _related(self, pod: PodFacts, sets: object) -> Iterator[Labels]:
        selectors = [frozenset(service.spec.selector.items()) for service in self.cluster.services(pod.key.namespace)]
        choosing = [selector for selector in selectors if selector and selector <= pod.labels]
        for labels in sets:  # type: ignore[attr-defined]
            if (pod.controlled and labels == pod.labels) or any(selector <= labels for selector in choosing):
                yield labels
