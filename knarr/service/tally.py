"""Counters and histograms for what happens ten thousand times a second, shown among the other metrics.

prometheus_client takes a lock for every number that it raises, and a histogram raises several: four of them cost a sixth of a GET. These
are plain numbers, and are to be raised on the event loop alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Count:
    """One number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self) -> None:
        self.value += 1


class Counts(Collector):
    """A counter with labels."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        self._name, self._documentation, self._labels = name, documentation, labels
        self._counts: dict[tuple[str, ...], Count] = {}
        REGISTRY.register(self)

    def of(self, *values: object) -> Count:
        """The count for these values of the labels; to be kept by who raises it often."""
        return self._counts.setdefault(tuple(map(str, values)), Count())

    def values(self) -> dict[tuple[str, ...], int]:
        """What was counted, by the values of the labels."""
        return {values: count.value for values, count in self._counts.items()}

    def forget(self, label: str, value: str) -> None:
        """Drops the counts of one value of a label: of something that is gone."""
        _forget(self._counts, list(self._labels).index(label), value)

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, count in list(self._counts.items()):
            family.add_metric(values, count.value)
        yield family


class Timing:
    """How often something took how long."""

    __slots__ = ("_bounds", "counts", "total_seconds")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        # As many as there are bounds, and those beyond the last.
        self.counts = [0] * (len(bounds) + 1)
        self.total_seconds = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self._bounds, seconds)] += 1
        self.total_seconds += seconds


class Timings(Collector):
    """A histogram of seconds with labels; ``bounds`` are the upper ones of its buckets, in order."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self._name, self._documentation, self._labels, self._bounds = name, documentation, labels, tuple(bounds)
        self._timings: dict[tuple[str, ...], Timing] = {}
        REGISTRY.register(self)

    def of(self, *values: object) -> Timing:
        """The timing for these values of the labels; to be kept by who observes it often."""
        return self._timings.setdefault(tuple(map(str, values)), Timing(self._bounds))

    def forget(self, label: str, value: str) -> None:
        """Drops the timings of one value of a label: of something that is gone."""
        _forget(self._timings, list(self._labels).index(label), value)

    def collect(self) -> Iterable[Metric]:
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        for values, timing in list(self._timings.items()):
            family.add_metric(values, list(zip(names, accumulate(timing.counts), strict=True)), timing.total_seconds)
        yield family


def _forget(found: dict[tuple[str, ...], Any], position: int, value: str) -> None:
    for values in [values for values in found if values[position] == value]:
        del found[values]
