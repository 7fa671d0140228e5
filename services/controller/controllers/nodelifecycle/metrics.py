"""Prometheus metrics of zones, by Kubernetes' names."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import Counter, Gauge

from services.controller.controllers.nodelifecycle.zones import Count, Zone

SIZE = Gauge("node_collector_zone_size", "Nodes of a zone", ["zone"])
HEALTH = Gauge("node_collector_zone_health", "Nodes of a zone that are ready, percent", ["zone"])
UNHEALTHY = Gauge("node_collector_unhealthy_nodes_in_zone", "Nodes of a zone that are not ready", ["zone"])
EVICTIONS = Counter("node_collector_evictions", "Nodes that were given the taint for which their pods leave, since the start", ["zone"])


def label(zone: Zone) -> str:
    """Kubernetes': the null character keeps apart names that have colons."""
    return f"{zone.region}:\0:{zone.zone}" if any(zone) else ""


def show(counts: Mapping[Zone, Count]) -> None:
    for zone, count in counts.items():
        name = label(zone)
        SIZE.labels(name).set(count.size)
        HEALTH.labels(name).set(100 * count.ready / count.size if count.size else 100)
        UNHEALTHY.labels(name).set(count.not_ready)
