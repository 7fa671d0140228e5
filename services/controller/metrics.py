"""Prometheus metrics of the controllers' queues."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import Gauge

from knarr.client.reconciler import Reconciler

DEPTH = Gauge("knarr_controller_queue_depth", "Keys that wait to be reconciled", ["controller"])
SYNCS = Gauge("knarr_controller_syncs", "Reconciles since the controller started", ["controller"])
ERRORS = Gauge("knarr_controller_errors", "Failed reconciles since the controller started", ["controller"])


def show_queues(queues: Mapping[str, Reconciler]) -> None:
    """From now on the metrics tell of these queues, and ask them when somebody asks: a controller at rest does nothing for it."""
    for name, queue in queues.items():
        _show(name, queue)


def _show(name: str, queue: Reconciler) -> None:
    DEPTH.labels(name).set_function(lambda: queue.status().depth)
    SYNCS.labels(name).set_function(lambda: queue.status().syncs)
    ERRORS.labels(name).set_function(lambda: queue.status().errors)
