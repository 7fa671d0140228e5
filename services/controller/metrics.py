"""Prometheus metrics of the controllers' queues."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from prometheus_client import Gauge

from knarr.client.reconciler import Reconciler

DEPTH = Gauge("knarr_controller_queue_depth", "Keys that wait to be reconciled", ["controller"])
SYNCS = Gauge("knarr_controller_syncs", "Reconciles since the controller started", ["controller"])
ERRORS = Gauge("knarr_controller_errors", "Failed reconciles since the controller started", ["controller"])

INTERVAL_SECONDS = 5.0


async def observe_queues(queues: Mapping[str, Reconciler]) -> None:
    """Copies the counts of the queues that there are now into the metrics until cancelled."""
    observed = [(queue, DEPTH.labels(name), SYNCS.labels(name), ERRORS.labels(name)) for name, queue in queues.items()]
    while True:
        for queue, depth, syncs, errors in observed:
            status = queue.status()
            depth.set(status.depth)
            syncs.set(status.syncs)
            errors.set(status.errors)
        await asyncio.sleep(INTERVAL_SECONDS)
