"""Stale disruptions: pods that say that they are about to be deleted, and are not. Specified by Kubernetes' disruption controller."""

from __future__ import annotations

from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.times import to_datetime
from knarr.objects.conditions import get_condition
from knarr.objects.keys import is_deleting
from knarr.objects.pods import is_finished

# How long after it was said a pod may stay: Kubernetes' number.
STALE_SECONDS = 120.0
DISRUPTION_TARGET = "DisruptionTarget"
# A kubelet that ends a pod may take any time to.
BY_KUBELET = "TerminationByKubelet"


def claims(pod: core.Pod) -> bool:
    """Whether it says so without being deleted or having ended."""
    if is_deleting(pod) or is_finished(pod):
        return False
    condition = get_condition(pod.status, DISRUPTION_TARGET)
    return condition is not None and condition.status == "True" and condition.reason != BY_KUBELET


def seconds_left(pod: core.Pod, now: datetime) -> float:
    """How long it may go on saying so; 0 when that is over. Of a pod that claims it."""
    condition = get_condition(pod.status, DISRUPTION_TARGET)
    assert condition is not None
    return max(STALE_SECONDS - (now - to_datetime(condition.last_transition_time)).total_seconds(), 0.0)
