"""ReplicaSet: from the pods that exist to the pods to create or delete, and the status to report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.times import to_datetime
from knarr.objects.keys import is_deleting
from knarr.objects.pods import PENDING, RUNNING, UNKNOWN, is_active, is_ready, ready_since, restarts, seconds_until_available

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASE_ORDER = {PENDING: 0, UNKNOWN: 1, RUNNING: 2}


@dataclass(frozen=True, slots=True)
class Plan:
    """``create`` pods to make, ``delete`` pods to remove (most dispensable first), the ``status``
    of what was found, and after how many seconds time alone changes it (None: never)."""

    create: int
    delete: Sequence[core.Pod]
    status: apps.ReplicaSetStatus
    again_seconds: float | None


def decide(
    replica_set: apps.ReplicaSet, pods: Iterable[core.Pod], siblings: Iterable[core.Pod], *, now: datetime, burst: int, settled: bool
) -> Plan:
    """``pods`` are the ReplicaSet's own; ``siblings`` those of all ReplicaSets of its owner.

    ``settled`` is False while own writes are still unseen: then nothing is created or deleted.
    """
    active = [pod for pod in pods if is_active(pod)]
    create, delete = 0, list[core.Pod]()
    if settled and not is_deleting(replica_set):
        surplus = len(active) - replica_set.spec.replicas
        create = min(max(-surplus, 0), burst)
        if surplus > 0:
            delete = rank_for_deletion(active, siblings, now)[: min(surplus, burst)]
    waits = [seconds_until_available(pod, replica_set.spec.min_ready_seconds, now) for pod in active]
    future = [seconds for seconds in waits if seconds]
    return Plan(create, delete, status_of(replica_set, active, now), min(future) if future else None)


def status_of(replica_set: apps.ReplicaSet, active: Sequence[core.Pod], now: datetime) -> apps.ReplicaSetStatus:
    """The counts; conditions are kept as they are."""
    template = dict(replica_set.spec.template.metadata.labels)
    status = apps.ReplicaSetStatus(
        replicas=len(active),
        fully_labeled_replicas=sum(1 for pod in active if template.items() <= dict(pod.metadata.labels).items()),
        ready_replicas=sum(1 for pod in active if is_ready(pod)),
        available_replicas=sum(1 for pod in active if seconds_until_available(pod, replica_set.spec.min_ready_seconds, now) == 0),
        observed_generation=replica_set.metadata.generation,
    )
    status.conditions.extend(replica_set.status.conditions)
    return status


def rank_for_deletion(active: Sequence[core.Pod], siblings: Iterable[core.Pod], now: datetime) -> list[core.Pod]:
    """Most dispensable first: unscheduled, pending, not ready, cheap to delete, crowded on its
    node, recently ready, often restarted, young."""
    crowd = Counter(pod.spec.node_name for pod in siblings if is_active(pod) and pod.spec.node_name)

    def rank(pod: core.Pod) -> tuple[float, ...]:
        ready = is_ready(pod)
        since = ready_since(pod)
        return (
            1 if pod.spec.node_name else 0,
            _PHASE_ORDER.get(pod.status.phase, 0),
            1 if ready else 0,
            deletion_cost(pod),
            -crowd[pod.spec.node_name],
            -since.timestamp() if ready and since else 0.0,
            -restarts(pod),
            -to_datetime(pod.metadata.creation_timestamp).timestamp(),
        )

    return sorted(active, key=rank)


def deletion_cost(pod: core.Pod) -> int:
    """The annotation's value; 0 when it is absent or no number."""
    try:
        return int(pod.metadata.annotations.get(DELETION_COST, "0"))
    except ValueError:
        return 0
