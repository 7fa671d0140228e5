"""A node takes what fits into its allocatable resources; the emptier node is the better one, or the fuller, as a profile has it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import compress
from typing import Any, ClassVar

import numpy as np

from knarr.objects.amounts import PODS
from services.scheduler.nodes import Mask, Nodes, Rows
from services.scheduler.parts import NODE_ALLOCATABLE, Part, Subject
from services.scheduler.plugin import Change, Cluster, Lack, Plugin, Scores
from services.scheduler.plugins.resources.arguments import NodeResourcesFitArgs, Scorer
from services.scheduler.pod_facts import PodFacts, facts_of
from services.scheduler.scored_resources import compared


class Resources(Plugin):
    name: ClassVar[str] = "NodeResourcesFit"
    reads: ClassVar[frozenset[Part]] = (
        frozenset({NODE_ALLOCATABLE}) | facts_of(Subject.POD, "requests", "assumed") | facts_of(Subject.PLACED, "requests", "assumed")
    )

    Args: ClassVar[type[Any] | None] = NodeResourcesFitArgs

    def __init__(self, cluster: Cluster, args: NodeResourcesFitArgs | None = None) -> None:
        super().__init__(cluster)
        self._args = args or NodeResourcesFitArgs()
        self._scorer = Scorer(self._args.scoring_strategy)

    def filter(self, pod: PodFacts, nodes: Nodes) -> Mask | None:
        size = nodes.size
        fits: Mask = np.ones(size, np.bool_)
        for resource, amount in self._needs(pod):
            if resource not in nodes.allocatable:
                return np.zeros(size, np.bool_)
            fits &= nodes.requested[resource][:size] + amount <= nodes.allocatable[resource][:size]
        return fits

    def accepts(self, pod: PodFacts, nodes: Nodes, row: int) -> bool:
        return all(_left(nodes, resource, row) >= amount for resource, amount in self._needs(pod))

    def reasons(self, pod: PodFacts, nodes: Nodes, row: int) -> list[str]:
        return [_word(resource) for resource, amount in self._needs(pod) if _left(nodes, resource, row) < amount]

    def all_reasons(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Iterable[list[str]]:
        words = [_word(resource) for resource, _ in self._needs(pod)]
        short = [_short(nodes, resource, amount, rows).tolist() for resource, amount in self._needs(pod)]
        return (list(compress(words, lacking)) for lacking in zip(*short, strict=True))

    def lacks(self, pod: PodFacts, nodes: Nodes, row: int) -> Mapping[str, Lack]:
        def lack(resource: str, amount: int) -> Lack:
            offered = nodes.allocatable.get(resource)
            return Lack(amount, _left(nodes, resource, row), int(offered[row]) if offered is not None else 0)

        return {resource: lack(resource, amount) for resource, amount in self._needs(pod) if _left(nodes, resource, row) < amount}

    def score(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Scores | None:
        found = []
        for resource in self._args.scoring_strategy.compared:
            amounts = compared(nodes, pod, resource.name, rows, assumed=True)
            if amounts is not None:
                found.append((resource.weight, *amounts))
        return self._scorer.score(found)

    def _needs(self, pod: PodFacts) -> Iterator[tuple[str, int]]:
        yield PODS, 1
        for resource, amount in pod.requests.items():
            if amount > 0 and not self._args.ignores(resource):
                yield resource, amount

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
