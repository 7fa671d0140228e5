"""What a profile may say of NodeResourcesFit, and the scores that follow from it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, check_format, forbidden, invalid, not_supported, qualified_name, required
from knarr.objects.amounts import is_extended
from services.scheduler.nodes import Amount, Mask
from services.scheduler.plugin import MAX_SCORE, Scores
from services.scheduler.scored_resources import CPU_AND_MEMORY, ResourceSpec

LEAST, MOST, RATIO = "LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"
# Points of a shape have scores up to ten.
MAX_SHAPE_SCORE = 10


@dataclass(frozen=True, slots=True)
class UtilizationShapePoint:
    utilization: int = 0
    score: int = 0


@dataclass(frozen=True, slots=True)
class RequestedToCapacityRatio:
    shape: tuple[UtilizationShapePoint, ...] = ()

    def problems(self, path: Path) -> Iterator[Cause]:
        shape = self.shape
        if not shape:
            yield required(path, "at least one point must be specified")
        unsorted = (at for at in range(1, len(shape)) if shape[at - 1].utilization >= shape[at].utilization)
        for at in list(unsorted)[:1]:
            yield invalid(path.index(at).child("utilization"), shape[at].utilization, "values must be sorted in increasing order")
        for at, point in enumerate(shape):
            for name, value, most in (("utilization", point.utilization, 100), ("score", point.score, MAX_SHAPE_SCORE)):
                if not 0 <= value <= most:
                    yield invalid(path.index(at).child(name), value, f"not in valid range [0, {most}]")

    def scores(self) -> NDArray[np.int64]:
        """The score by how much is used, in whole percents from 0 to 100."""
        return np.array([_on_line(self.shape, percent) for percent in range(101)], np.int64)


@dataclass(frozen=True, slots=True)
class ScoringStrategy:
    type: str = ""
    resources: tuple[ResourceSpec, ...] = ()
    requested_to_capacity_ratio: RequestedToCapacityRatio | None = None

    @property
    def compared(self) -> Sequence[ResourceSpec]:
        return self.resources or CPU_AND_MEMORY

    def problems(self, path: Path) -> Iterator[Cause]:
        if self.type not in (LEAST, MOST, RATIO):
            yield not_supported(path.child("type"), self.type, (LEAST, MOST, RATIO))
        for at, one in enumerate(self.resources):
            if not 0 < one.weight <= 100:
                where = path.child("resources").index(at).child("weight")
                yield invalid(where, one.weight, f"resource weight of {one.name} not in valid range (0, 100]")
        ratio, where = self.requested_to_capacity_ratio, path.child("requestedToCapacityRatio")
        if ratio is None and self.type == RATIO:
            yield required(where, "must be specified when type is RequestedToCapacityRatio")
        elif ratio is not None and self.type != RATIO:
            yield forbidden(where, "must be nil when type is not RequestedToCapacityRatio")
        elif ratio is not None:
            yield from ratio.problems(where.child("shape"))


@dataclass(frozen=True, slots=True)
class NodeResourcesFitArgs:
    ignored_resources: tuple[str, ...] = ()
    ignored_resource_groups: tuple[str, ...] = ()
    scoring_strategy: ScoringStrategy = ScoringStrategy(LEAST)

    def problems(self, path: Path) -> Iterator[Cause]:
        for at, name in enumerate(self.ignored_resources):
            yield from check_format(path.child("ignoredResources").index(at), name, qualified_name)
        for at, group in enumerate(self.ignored_resource_groups):
            where = path.child("ignoredResourceGroups").index(at)
            if "/" in group:
                yield invalid(where, group, "resource group name can't contain '/'")
            yield from check_format(where, group, qualified_name)
        yield from self.scoring_strategy.problems(path.child("scoringStrategy"))

    def ignores(self, resource: str) -> bool:
        """Whether it is not looked at if a node has enough of a resource: somebody else does."""
        if not self.ignored_resources and not self.ignored_resource_groups:
            return False
        named = resource in self.ignored_resources or resource.partition("/")[0] in self.ignored_resource_groups
        return named and is_extended(resource)


class Scorer:
    """Scores by a strategy, from what nodes offer and what would be taken of it, a pair of arrays for each resource that counts."""

    def __init__(self, strategy: ScoringStrategy) -> None:
        self._type = strategy.type
        ratio = strategy.requested_to_capacity_ratio
        self._of_percent = ratio.scores() if ratio is not None else None

    def score(self, resources: Sequence[tuple[int, Amount, Amount]]) -> Scores | None:
        """``resources`` are weights, what is offered and what would be taken. None where there are none to compare."""
        if not resources:
            return None
        total: Scores = np.zeros(len(resources[0][1]), np.int64)
        weights: NDArray[np.int64] | int = 0
        for weight, offered, taken in resources:
            scores, counted = self._of_one(offered, taken)
            total += scores * weight
            weights = weights + (weight if counted is None else weight * counted)
        if self._type == RATIO:
            # Halves are rounded up, as they are in Kubernetes.
            rounded: Scores = np.floor(total / np.maximum(weights, 1) + 0.5).astype(np.int64)
            return rounded
        return total // np.maximum(weights, 1)

    def score_one(self, resources: Sequence[tuple[int, int, int]]) -> int:
        """The same for a single node, by plain numbers; 0 where there are none."""
        total = weights = 0
        for weight, offered, taken in resources:
            if offered <= 0:
                continue
            if self._of_percent is not None:
                score = int(self._of_percent[_percent(min(taken, offered), offered)])
                weights += weight if score else 0
            else:
                score = _percent(max(offered - taken, 0) if self._type == LEAST else min(taken, offered), offered)
                weights += weight
            total += score * weight
        return math.floor(total / max(weights, 1) + 0.5) if self._type == RATIO else total // max(weights, 1)

    def _of_one(self, offered: Amount, taken: Amount) -> tuple[Scores, Mask | None]:
        """Scores by one resource, and where it counts; None: everywhere. A node that has none of it is judged by the others."""
        there = offered > 0
        if self._of_percent is not None:
            scores = np.where(there, self._of_percent[_share(np.minimum(taken, offered), offered, there)], 0)
            return scores, scores > 0
        part = np.maximum(offered - taken, 0) if self._type == LEAST else np.minimum(taken, offered)
        return _share(part, offered, there), None if there.all() else there


def _share(part: Amount, whole: Amount, there: Mask) -> Scores:
    """Whole percents; 0 where there is nothing."""
    # Doubles divide thrice as fast as whole numbers, and as exactly below 2**46 (70 TB).
    shares: Scores = (np.where(there, part * float(MAX_SCORE) / np.maximum(whole, 1), 0.0)).astype(np.int64)
    return shares


def _percent(part: int, whole: int) -> int:
    return int(part * float(MAX_SCORE) / whole)


def _on_line(shape: Sequence[UtilizationShapePoint], percent: int) -> int:
    """The score at a place on the line through the points, in whole numbers as Kubernetes reckons."""
    factor = MAX_SCORE // MAX_SHAPE_SCORE
    for before, point in zip((None, *shape), shape, strict=False):
        if percent <= point.utilization:
            if before is None:
                break
            rise = (point.score - before.score) * factor * (percent - before.utilization)
            # Towards zero.
            return before.score * factor + int(rise / (point.utilization - before.utilization))
    else:
        return shape[-1].score * factor
    return shape[0].score * factor
