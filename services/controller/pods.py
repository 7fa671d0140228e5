"""What only the controllers ask of a pod."""

from __future__ import annotations

from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.conditions import get_condition
from knarr.machinery.times import to_datetime


def ready_since(pod: core.Pod) -> datetime | None:
    """When it became ready; None when it is not."""
    condition = get_condition(pod.status, "Ready")
    return to_datetime(condition.last_transition_time) if condition is not None and condition.status == "True" else None


def restarts(pod: core.Pod) -> int:
    """Restarts of its most restarted container."""
    return max((status.restart_count for status in pod.status.container_statuses), default=0)
