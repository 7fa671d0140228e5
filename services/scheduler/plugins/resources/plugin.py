"""A node takes what fits into its allocatable resources; the emptier node is the better one, or the fuller, as a profile has it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import compress
from typing import Any, ClassVar

import numpy as np

from knarr.api.resource.v1.resource_pb2 import DeviceClass
from knarr.objects.amounts import PODS
from services.scheduler.backing import BACKED_BY, backing, resources_of
from services.scheduler.nodes import Mask, Nodes, Rows, of_rows
from services.scheduler.parts import NODE_ALLOCATABLE, Part, Subject
from services.scheduler.placed_cache import PlacedCache
from services.scheduler.plugin import Change, Cluster, Lack, Plugin, Room, Scores
from services.scheduler.plugins.resources.arguments import NodeResourcesFitArgs, Scorer
from services.scheduler.pod_facts import PodFacts, facts_of
from services.scheduler.scored_resources import Compared, compared


class Resources(Plugin):
    name: ClassVar[str] = "NodeResourcesFit"
    reads: ClassVar[frozenset[Part]] = (
        frozenset({NODE_ALLOCATABLE})
        | BACKED_BY
        | facts_of(Subject.POD, "requests", "assumed", "extended")
        | facts_of(Subject.PLACED, "requests", "assumed")
    )

    Args: ClassVar[type[Any] | None] = NodeResourcesFitArgs

    def __init__(self, cluster: Cluster, args: NodeResourcesFitArgs | None = None) -> None:
        super().__init__(cluster)
        self._args = args or NodeResourcesFitArgs()
        self._scorer = Scorer(self._args.scoring_strategy)
        self._fitting: PlacedCache[np.bool_] = PlacedCache(self._fits, self.accepts)
        self._scores: PlacedCache[np.int64] = PlacedCache(self._scored, self._scored_one)

    def filter(self, pod: PodFacts, nodes: Nodes) -> Mask | None:
        key = (pod.asked_key, frozenset(self._backed(pod))) if pod.extended else pod.asked_key
        return self._fitting.get(pod, nodes, key)

    def _fits(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Mask:
        fits: Mask = np.ones(len(rows), np.bool_)
        backed = self._backed(pod)
        for resource, amount in self._needs(pod):
            if resource in backed:
                fits &= ~_short(nodes, resource, amount, rows, backed)
            elif resource not in nodes.allocatable:
                return np.zeros(len(rows), np.bool_)
            else:
                fits &= nodes.requested[resource][rows] + amount <= nodes.allocatable[resource][rows]
        return fits

    def accepts(self, pod: PodFacts, nodes: Nodes, row: int) -> bool:
        return all(_left(nodes, resource, row) >= amount for resource, amount in self._needs_at(pod, nodes, row))

    def lasting(self, pod: PodFacts, nodes: Nodes) -> Mask | None:
        """Nodes that are too small, had they no pods at all; of how many pods one takes that is not said."""
        small: Mask | None = None
        backed = self._backed(pod)
        for resource, amount in self._needs(pod):
            if resource == PODS or (resource in backed and resource not in nodes.allocatable):
                continue
            offered = nodes.allocatable[resource][: nodes.size] if resource in nodes.allocatable else np.zeros(nodes.size, np.int64)
            less = (offered < amount) & (offered > 0) if resource in backed else offered < amount
            small = less if small is None else small | less
        return small

    def room(self, pod: PodFacts, nodes: Nodes, row: int) -> Room | None:
        needs = list(self._needs_at(pod, nodes, row))
        return ResourceRoom(needs, {resource: _left(nodes, resource, row) for resource, _ in needs})

    def reasons(self, pod: PodFacts, nodes: Nodes, row: int) -> list[str]:
        return [_word(resource) for resource, amount in self._needs_at(pod, nodes, row) if _left(nodes, resource, row) < amount]

    def all_reasons(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Iterable[list[str]]:
        words, backed = [_word(resource) for resource, _ in self._needs(pod)], self._backed(pod)
        short = [_short(nodes, resource, amount, rows, backed).tolist() for resource, amount in self._needs(pod)]
        return (list(compress(words, lacking)) for lacking in zip(*short, strict=True))

    def lacks(self, pod: PodFacts, nodes: Nodes, row: int) -> Mapping[str, Lack]:
        def lack(resource: str, amount: int) -> Lack:
            return Lack(amount, _left(nodes, resource, row), _offered(nodes, resource, row))

        needs = self._needs_at(pod, nodes, row)
        return {resource: lack(resource, amount) for resource, amount in needs if _left(nodes, resource, row) < amount}

    def counted_reasons(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Counter[str]:
        backed = self._backed(pod)
        counts = {_word(resource): int(_short(nodes, resource, amount, rows, backed).sum()) for resource, amount in self._needs(pod)}
        return Counter({word: count for word, count in counts.items() if count})

    def score(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Scores | None:
        return of_rows(self._scores.get(pod, nodes, pod.asked_key), rows) if self._compared(pod, nodes) else None

    def _scored(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Scores:
        scores = self._scorer.score([(weight, *columns.of(rows)) for weight, columns in self._compared(pod, nodes)])
        return scores if scores is not None else np.zeros(len(rows), np.int64)

    def _scored_one(self, pod: PodFacts, nodes: Nodes, row: int) -> int:
        return self._scorer.score_one([(weight, *columns.at(row)) for weight, columns in self._compared(pod, nodes)])

    def _compared(self, pod: PodFacts, nodes: Nodes) -> Sequence[tuple[int, Compared]]:
        """The resources that count for this pod, with their weights."""
        all_of = ((one.weight, compared(nodes, pod, one.name, assumed=True)) for one in self._args.scoring_strategy.compared)
        return [(weight, found) for weight, found in all_of if found is not None]

    def _needs(self, pod: PodFacts) -> Iterator[tuple[str, int]]:
        yield PODS, 1
        for resource, amount in pod.requests.items():
            if amount > 0 and not self._args.ignores(resource):
                yield resource, amount

    def _needs_at(self, pod: PodFacts, nodes: Nodes, row: int) -> Iterator[tuple[str, int]]:
        """What the node itself must have: what it does not offer by itself, and has devices for, is for others to judge."""
        backed = self._backed(pod)
        return ((resource, amount) for resource, amount in self._needs(pod) if resource not in backed or _offered(nodes, resource, row))

    def _backed(self, pod: PodFacts) -> Collection[str]:
        """The resources that classes of devices stand for."""
        return backing(pod, self.cluster) if pod.extended else ()

    def mends(self, pod: PodFacts, nodes: Nodes, change: Change) -> bool:
        found = change.new if change.new is not None else change.old
        if isinstance(found, DeviceClass):
            return change.new is not None and not set(pod.extended).isdisjoint(resources_of(found))
        return change.row is None or self.accepts(pod, nodes, change.row)


class ResourceRoom(Room):
    """What is ``left`` of the resources that a pod needs."""

    __slots__ = ("_left", "_needs")

    def __init__(self, needs: Sequence[tuple[str, int]], left: dict[str, int]) -> None:
        self._needs, self._left = needs, left

    def take(self, other: PodFacts) -> None:
        self._change(other, 1)

    def put(self, other: PodFacts) -> None:
        self._change(other, -1)

    def refusal(self) -> list[str] | None:
        return [_word(resource) for resource, amount in self._needs if self._left[resource] < amount] or None

    def _change(self, other: PodFacts, sign: int) -> None:
        left, requests = self._left, other.requests
        for resource in left:
            left[resource] += sign * (1 if resource == PODS else requests.get(resource, 0))


def _short(nodes: Nodes, resource: str, amount: int, rows: Rows, backed: Collection[str]) -> Mask:
    if resource not in nodes.allocatable:
        return np.full(len(rows), resource not in backed, np.bool_)
    offered = nodes.allocatable[resource][rows]
    short: Mask = offered - nodes.requested[resource][rows] < amount
    return short & (offered > 0) if resource in backed else short


def _word(resource: str) -> str:
    return "Too many pods" if resource == PODS else f"Insufficient {resource}"


def _offered(nodes: Nodes, resource: str, row: int) -> int:
    offered = nodes.allocatable.get(resource)
    return int(offered[row]) if offered is not None else 0


def _left(nodes: Nodes, resource: str, row: int) -> int:
    offered = nodes.allocatable.get(resource)
    return int(offered[row] - nodes.requested[resource][row]) if offered is not None else 0
