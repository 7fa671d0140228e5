"""What several components ask of a pod."""

from __future__ import annotations

from datetime import datetime, timedelta

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.conditions import get_condition, is_true

SUCCEEDED, FAILED = "Succeeded", "Failed"


def is_finished(pod: core.Pod) -> bool:
    """Whether all of its containers have ended for good."""
    return pod.status.phase in (SUCCEEDED, FAILED)


def is_deleting(pod: core.Pod) -> bool:
    """Whether its deletion was asked for."""
    return bool(pod.metadata.HasField("deletion_timestamp"))


def is_active(pod: core.Pod) -> bool:
    """Whether it counts as a replica: neither finished nor being deleted."""
    return not is_finished(pod) and not is_deleting(pod)


def is_ready(pod: core.Pod) -> bool:
    """Whether its Ready condition is True."""
    return is_true(pod.status, "Ready")


def seconds_until_available(pod: core.Pod, min_ready_seconds: int, now: datetime) -> float | None:
    """How long it must stay ready to be available; 0 when it is, None when it is not ready."""
    condition = get_condition(pod.status, "Ready")
    if condition is None or condition.status != "True":
        return None
    since = datetime.fromtimestamp(condition.last_transition_time.seconds, now.tzinfo)
    return max((since + timedelta(seconds=min_ready_seconds) - now).total_seconds(), 0.0) if min_ready_seconds else 0.0
