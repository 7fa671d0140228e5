"""From what is measured to a count of pods. Pure; Kubernetes' arithmetic, its rounding included."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.controller.controllers.horizontalpodautoscaler.samples import Groups, Sample, Samples, Unmeasured

MOST_PODS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Tolerance:
    """By how much the measured may be below (``down``) or above (``up``) what is wanted without anything being done, as a share of it."""

    down: float
    up: float

    def holds(self, ratio: float) -> bool:
        return 1.0 - self.down <= ratio <= 1.0 + self.up


@dataclass(frozen=True, slots=True)
class Count:
    """``replicas`` are wanted; ``value`` is what the metric is (in thousandths, a pod's on average unless it is a total), ``utilization``
    in percent of what the pods ask for."""

    replicas: int
    value: int
    utilization: int | None = None


def by_utilization(
    current: int, target_percent: int, samples: Samples, groups: Groups, requests: Mapping[str, int], tolerance: Tolerance
) -> Count:
    """Raises Unmeasured where nothing is known of any pod that counts."""
    known = _known(samples, groups)
    ratio, percent, average = _utilization(known, requests, target_percent)

    def again(assumed: Samples) -> float:
        return _utilization(assumed, requests, target_percent)[0]

    assumed = _assumed(known, groups, ratio, requests)
    return Count(_replicas(current, ratio, assumed, groups, tolerance, again), average, percent)


def by_average(current: int, target: int, samples: Samples, groups: Groups, tolerance: Tolerance) -> Count:
    """``target`` in thousandths a pod. Raises Unmeasured where nothing is known of any pod that counts."""
    known = _known(samples, groups)
    average = _average(known)
    ratio = average / target

    def again(assumed: Samples) -> float:
        return _average(assumed) / target

    assumed = _assumed(known, groups, ratio, dict.fromkeys(groups.missing, target))
    return Count(_replicas(current, ratio, assumed, groups, tolerance, again), average)


def by_total(current: int, target: int, total: int, ready: int, tolerance: Tolerance) -> Count:
    """``total`` is to be ``target``, both in thousandths, whatever the pods are; without pods it is what one of them would bear."""
    ratio = total / target
    if current and tolerance.holds(ratio):
        return Count(current, total)
    return Count(_whole(ratio * ready) if current else _whole(ratio), total)


def by_total_per_pod(replicas: int, target: int, total: int, tolerance: Tolerance) -> Count:
    """``total`` is to be ``target`` for each of the ``replicas`` that there are."""
    if replicas and tolerance.holds(total / (target * replicas)):
        return Count(replicas, _whole(total / replicas))
    return Count(_whole(total / target), _whole(total / max(replicas, 1)))


def _known(samples: Samples, groups: Groups) -> Samples:
    """Of the pods that count."""
    known = {name: sample for name, sample in samples.items() if name not in groups.unready and name not in groups.leaving}
    if not known:
        raise Unmeasured("did not receive metrics for targeted pods (pods might be unready)")
    return known


def _utilization(samples: Samples, requests: Mapping[str, int], target_percent: int) -> tuple[float, int, int]:
    """Of what is wanted, of what is asked for in percent, and of a pod on average."""
    matched = [(sample.value, requests[name]) for name, sample in samples.items() if name in requests]
    used, asked = sum(value for value, _ in matched), sum(request for _, request in matched)
    if not asked:
        raise Unmeasured("no metrics returned matched known pods")
    percent = used * 100 // asked
    return percent / target_percent, percent, used // len(matched)


def _average(samples: Samples) -> int:
    return sum(sample.value for sample in samples.values()) // len(samples)


def _assumed(known: Samples, groups: Groups, ratio: float, full: Mapping[str, int]) -> Samples:
    """With what is taken to be so of pods that are not measured: what works against the change. Those that start count as idle, when pods
    are to be added; those that should be measured count as idle then, and as ``full`` when some are to go."""
    assumed = dict(known)
    if ratio < 1.0:
        assumed |= {name: Sample(full.get(name, 0)) for name in groups.missing}
    elif ratio > 1.0:
        assumed |= {name: Sample(0) for name in groups.missing | groups.unready}
    return assumed


def _replicas(
    current: int,
    ratio: float,
    assumed: Samples,
    groups: Groups,
    tolerance: Tolerance,
    again: Callable[[Samples], float],
) -> int:
    if not groups.missing and not (groups.unready and ratio > 1.0):
        return current if tolerance.holds(ratio) else _whole(ratio * groups.ready)
    corrected = again(assumed)
    turned = (ratio < 1.0 < corrected) or (corrected < 1.0 < ratio)
    if tolerance.holds(corrected) or turned:
        return current
    wanted = _whole(corrected * len(assumed))
    # The number of those that count is another one: that alone is to turn nothing either.
    return current if (corrected < 1.0 and wanted > current) or (corrected > 1.0 and wanted < current) else wanted


def _whole(number: float) -> int:
    return min(math.ceil(number), MOST_PODS)
