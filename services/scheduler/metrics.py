"""Prometheus metrics of the scheduler."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

ATTEMPTS = Counter("knarr_scheduler_attempts_total", "Attempts to place a pod, by result.", ["result"])
DECISION_SECONDS = Histogram(
    "knarr_scheduler_decision_seconds", "Time to decide on one pod.", buckets=(0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
)
PLACED_SECONDS = Histogram("knarr_scheduler_placed_seconds", "Time from first seeing a pod to its binding.")
VICTIMS = Counter("knarr_scheduler_preempted_pods_total", "Pods that were removed to make room for others.")
PENDING = Gauge("knarr_scheduler_pending_pods", "Pods that wait, by state.", ["state"])
