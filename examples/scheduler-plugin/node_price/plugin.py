"""Nodes say in a label what they cost; a pod goes to a cheap one, and to none that costs more than it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from knarr.api.core.v1 import core_pb2 as core
from knarr.scheduler_plugin import NODE_LABELS, Cluster, Mask, Nodes, Part, Plugin, PodFacts, RowCache, Rows, Scores, Subject, normalized

MOST = "example.com/most"


@dataclass(frozen=True)
class NodePriceArgs:
    """What a profile may say of the plugin: ``label`` of nodes that tells the price, a whole number."""

    label: str = "example.com/price"


class NodePrice(Plugin):
    name: ClassVar[str] = "NodePrice"
    reads: ClassVar[frozenset[Part]] = frozenset({NODE_LABELS, Part(Subject.POD, "metadata.annotations")})
    Args: ClassVar[type[Any] | None] = NodePriceArgs

    def __init__(self, cluster: Cluster, args: NodePriceArgs | None = None) -> None:
        super().__init__(cluster)
        # A price for each node, asked again only when the node's labels change.
        self._prices = RowCache(self.reads, _price, np.int64)
        self._label = (args or NodePriceArgs()).label

    def filter(self, pod: PodFacts, nodes: Nodes) -> Mask | None:
        most = pod.pod.metadata.annotations.get(MOST, "")
        return self._prices.get(nodes, self._label, self._label) <= int(most) if most.isdecimal() else None

    def reasons(self, pod: PodFacts, nodes: Nodes, row: int) -> list[str]:
        return ["node(s) were too expensive"]

    def score(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Scores | None:
        return normalized(self._prices.get(nodes, self._label, self._label)[rows], reverse=True)


def _price(label: str, node: core.Node) -> int:
    text = node.metadata.labels.get(label, "")
    return int(text) if text.isdecimal() and len(text) < 10 else 0
