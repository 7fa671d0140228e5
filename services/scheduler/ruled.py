"""Filters that find their reasons for many nodes at once; among them those made of rules, each with words of its own: the first rule
that refuses a node is the one that is told."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator
from typing import ClassVar

import numpy as np

from services.scheduler.nodes import Mask, Nodes, Rows
from services.scheduler.pod_facts import PodFacts


class ToldTogether(abc.ABC):
    """Beside ``Plugin``, before it among the bases."""

    @abc.abstractmethod
    def all_reasons(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Iterable[list[str]]:
        """As ``Plugin.all_reasons``."""

    def reasons(self, pod: PodFacts, nodes: Nodes, row: int) -> list[str]:
        return next(iter(self.all_reasons(pod, nodes, np.array([row], np.intp))))


class Ruled(ToldTogether):
    """Beside ``Plugin``, before it among the bases: what a plugin says of nodes by its ``rules``."""

    # The words of rules by which a node stays refused whoever leaves it.
    LASTING: ClassVar[frozenset[str]] = frozenset()

    @abc.abstractmethod
    def rules(self, pod: PodFacts, nodes: Nodes) -> Iterator[tuple[str, Mask]]:
        """The words of each rule that may refuse a node and the rows that it accepts, in the order in which they are told of."""

    def filter(self, pod: PodFacts, nodes: Nodes) -> Mask | None:
        accepted: Mask | None = None
        for _, mask in self.rules(pod, nodes):
            accepted = mask if accepted is None else accepted & mask
        return accepted

    def lasting(self, pod: PodFacts, nodes: Nodes) -> Mask | None:
        lasting: Mask | None = None
        left: Mask = np.ones(nodes.size, np.bool_)
        for words, mask in self.rules(pod, nodes):
            if words in self.LASTING:
                refused = left & ~mask
                lasting = refused if lasting is None else lasting | refused
            left &= mask
        return lasting

    def all_reasons(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Iterable[list[str]]:
        rules = list(self.rules(pod, nodes))
        return ([next(words for words, mask in rules if not mask[row])] for row in rows)
