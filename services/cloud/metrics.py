"""Prometheus metrics of the cloud controller manager."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from prometheus_client import Counter, Gauge, Histogram

from knarr.client.reconciler import Reconciler

CALLS = Counter("knarr_cloud_provider_calls_total", "Calls to the provider, by method and outcome", ["method", "outcome"])
CALL_SECONDS = Histogram("knarr_cloud_provider_call_seconds", "Time a call to the provider took", ["method"])
LOAD_BALANCERS = Gauge("knarr_cloud_load_balancers", "Services that want or still have a load balancer, by state", ["state"])
DEPTH = Gauge("knarr_cloud_queue_depth", "Keys that wait to be reconciled", ["controller"])
ERRORS = Gauge("knarr_cloud_errors", "Failed reconciles since the controller started", ["controller"])

INTERVAL_SECONDS = 5.0


async def observe(queues: Mapping[str, Reconciler], states: Callable[[], Mapping[str, int]]) -> None:
    """Copies counts of the queues, and of load balancers by state, into the metrics until cancelled."""
    while True:
        for name, queue in queues.items():
            status = queue.status()
            DEPTH.labels(name).set(status.depth)
            ERRORS.labels(name).set(status.errors)
        for state, count in states().items():
            LOAD_BALANCERS.labels(state).set(count)
        await asyncio.sleep(INTERVAL_SECONDS)
