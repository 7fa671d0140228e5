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
    """Copies the queues' counts into the metrics until cancelled."""
    while True:
        for name, queue in queues.items():
            status = queue.status()
            DEPTH.labels(name).set(status.depth)
            SYNCS.labels(name).set(status.syncs)
            ERRORS.labels(name).set(status.errors)
        await asyncio.sleep(INTERVAL_SECONDS)
