"""The strategies of NodeMetrics and PodMetrics, which are only ever read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from knarr.api.metrics.v1beta1 import metrics_pb2 as metrics
from knarr.machinery import quantity
from services.apiserver.strategies.duration import human_duration
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import columns

NANOSECONDS = 1_000_000_000


class NodeMetricsStrategy(Strategy):
    columns = columns("Name", "CPU", "Memory", "Window")

    def cells(self, obj: metrics.NodeMetrics, now: datetime) -> list[object]:
        return _cells(obj, [obj.usage])


class PodMetricsStrategy(Strategy):
    columns = columns("Name", "CPU", "Memory", "Window")

    def cells(self, obj: metrics.PodMetrics, now: datetime) -> list[object]:
        return _cells(obj, [container.usage for container in obj.containers])


def _cells(obj: Any, usages: Iterable[Mapping[str, Any]]) -> list[object]:
    total = {"cpu": "0", "memory": "0"}
    for usage in usages:
        for name in total:
            if name in usage:
                total[name] = quantity.add(total[name], usage[name].string)
    return [obj.metadata.name, total["cpu"], total["memory"], human_duration(obj.window.duration / NANOSECONDS)]
