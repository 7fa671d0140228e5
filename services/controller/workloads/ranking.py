"""Which of several pods can be spared first."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.times import to_datetime
from knarr.objects.pods import PENDING, RUNNING, UNKNOWN, is_active, is_ready, ready_since, restarts

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASE_ORDER = {PENDING: 0, UNKNOWN: 1, RUNNING: 2}
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,9})", re.ASCII)
_INT32 = range(-(2**31), 2**31)


def rank_for_deletion(active: Sequence[core.Pod], siblings: Iterable[core.Pod], now: datetime) -> list[core.Pod]:
    """Most dispensable first: unscheduled, pending, not ready, cheap to delete, crowded on its node, recently ready, often restarted,
    young.

    ``siblings`` are the pods that crowd a node. Times count by the power of two that they lie back: whichever of two pods that
    came at about the same time is as good as the other, and their uids decide, so that no node or zone is always the first.
    """
    crowd = Counter(pod.spec.node_name for pod in siblings if is_active(pod))

    def rank(pod: core.Pod) -> tuple[int | str, ...]:
        since = ready_since(pod)
        return (
            1 if pod.spec.node_name else 0,
            _PHASE_ORDER.get(pod.status.phase, 0),
            1 if is_ready(pod) else 0,
            deletion_cost(pod),
            -crowd[pod.spec.node_name],
            _magnitude(now - since) if since is not None else 0,
            -restarts(pod),
            _magnitude(now - to_datetime(pod.metadata.creation_timestamp)),
            pod.metadata.uid,
        )

    return sorted(active, key=rank)


def deletion_cost(pod: core.Pod) -> int:
    """The annotation's value; 0 when it is absent or no number of 32 bits as Kubernetes writes them."""
    text = pod.metadata.annotations.get(DELETION_COST, "")
    cost = int(text) if _NUMBER.fullmatch(text) else 0
    return cost if cost in _INT32 else 0


def _magnitude(age: timedelta) -> int:
    """The logarithm of an age in nanoseconds; -1 of what lies ahead."""
    seconds = age.total_seconds()
    return int(math.log2(seconds * 1e9)) if seconds > 0 else -1
