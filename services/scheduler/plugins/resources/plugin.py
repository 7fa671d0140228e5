"""A node takes what fits into its allocatable resources; the emptier node is the better one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import compress
from typing import ClassVar

import numpy as np

from knarr.objects.amounts import CPU, MEMORY, PODS
from services.scheduler.nodes import Amount, Mask, Nodes, Rows
from services.scheduler.parts import NODE_ALLOCATABLE, Part, Subject
from services.scheduler.plugin import MAX_SCORE, Change, Plugin, Scores
from services.scheduler.pod_facts import PodFacts, facts_of


class Resources(Plugin):
    name: ClassVar[str] = "NodeResourcesFit"
    reads: ClassVar[frozenset[Part]] = (
        frozenset({NODE_ALLOCATABLE}) | facts_of(Subject.POD, "requests", "assumed") | facts_of(Subject.PLACED, "requests", "assumed")
    )

    def filter(self, pod: PodFacts, nodes: Nodes) -> Mask | None:
        size = nodes.size
        fits: Mask = np.ones(size, np.bool_)
        for resource, amount in _needs(pod):
            if resource not in nodes.allocatable:
                return np.zeros(size, np.bool_)
            fits &= nodes.requested[resource][:size] + amount <= nodes.allocatable[resource][:size]
        return fits

    def accepts(self, pod: PodFacts, nodes: Nodes, row: int) -> bool:
        return all(_left(nodes, resource, row) >= amount for resource, amount in _needs(pod))

    def reasons(self, pod: PodFacts, nodes: Nodes, row: int) -> list[str]:
        return [_word(resource) for resource, amount in _needs(pod) if _left(nodes, resource, row) < amount]

    def all_reasons(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Iterable[list[str]]:
        words = [_word(resource) for resource, _ in _needs(pod)]
        short = [_short(nodes, resource, amount, rows).tolist() for resource, amount in _needs(pod)]
        return (list(compress(words, lacking)) for lacking in zip(*short, strict=True))

    def score(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Scores | None:
        cpu = _share_left(nodes.allocatable[CPU][rows], nodes.assumed_cpu[rows] + pod.assumed[0])
        memory = _share_left(nodes.allocatable[MEMORY][rows], nodes.assumed_memory[rows] + pod.assumed[1])
        return (cpu + memory) // 2

    def mends(self, pod: PodFacts, nodes: Nodes, change: Change) -> bool:
        return change.row is None or self.accepts(pod, nodes, change.row)


def _short(nodes: Nodes, resource: str, amount: int, rows: Rows) -> Mask:
    if resource not in nodes.allocatable:
        return np.ones(len(rows), np.bool_)
    short: Mask = nodes.allocatable[resource][rows] - nodes.requested[resource][rows] < amount
    return short


def _word(resource: str) -> str:
    return "Too many pods" if resource == PODS else f"Insufficient {resource}"


def _left(nodes: Nodes, resource: str, row: int) -> int:
    offered = nodes.allocatable.get(resource)
    return int(offered[row] - nodes.requested[resource][row]) if offered is not None else 0


def _needs(pod: PodFacts) -> Iterator[tuple[str, int]]:
    yield PODS, 1
    for resource, amount in pod.requests.items():
        if amount > 0:
            yield resource, amount


def _share_left(offered: Amount, taken: Amount) -> Scores:
    """Percent of what a node offers that would be left; 0 when it is overrun or offers nothing."""
    # Doubles divide thrice as fast as whole numbers, and as exactly below 2**46 (70 TB).
    left = np.maximum(offered - taken, 0) * float(MAX_SCORE)
    shares: Scores = np.where(offered > 0, left / np.maximum(offered, 1), 0.0).astype(np.int64)
    return shares
