"""A filter that finds its reasons for many nodes at once; those for one are no different."""

from __future__ import annotations

import abc
from collections.abc import Iterable

import numpy as np

from services.scheduler.nodes import Nodes, Rows
from services.scheduler.pod_facts import PodFacts


class ToldTogether(abc.ABC):
    """Beside ``Plugin``, before it among the bases."""

    @abc.abstractmethod
    def all_reasons(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Iterable[list[str]]:
        """As ``Plugin.all_reasons``."""

    def reasons(self, pod: PodFacts, nodes: Nodes, row: int) -> list[str]:
        return next(iter(self.all_reasons(pod, nodes, np.array([row], np.intp))))
