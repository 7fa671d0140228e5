"""A number of pods of one template: from the pods that exist to those to create or delete, and the status to report.

What is decided here holds for ReplicaSets and for ReplicationControllers, which differ in how they choose their pods alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.keys import is_deleting
from knarr.objects.pods import is_active, is_terminating, seconds_until_available
from services.controller.workloads.ranking import rank_for_deletion

Replicated = apps.ReplicaSet | core.ReplicationController
ReplicatedStatus = apps.ReplicaSetStatus | core.ReplicationControllerStatus


@dataclass(frozen=True, slots=True)
class Plan:
    """``create`` pods to make, ``delete`` pods to remove (most dispensable first), the ``status``
    of what was found, and after how many seconds time alone changes it (None: never)."""

    create: int
    delete: Sequence[core.Pod]
    status: ReplicatedStatus
    again_seconds: float | None


def decide(
    workload: Replicated, pods: Sequence[core.Pod], siblings: Iterable[core.Pod], *, now: datetime, burst: int, settled: bool
) -> Plan:
    """``pods`` are the workload's own; ``siblings`` those of all workloads of its owner.

    ``settled`` is False while own writes are still unseen: then nothing is created or deleted.
    """
    active = [pod for pod in pods if is_active(pod)]
    create, delete = 0, list[core.Pod]()
    if settled and not is_deleting(workload):
        surplus = len(active) - workload.spec.replicas
        create = min(max(-surplus, 0), burst)
        if surplus > 0:
            delete = rank_for_deletion(active, siblings, now)[: min(surplus, burst)]
    waits = [seconds_until_available(pod, workload.spec.min_ready_seconds, now) for pod in active]
    status = _status(workload, active, waits)
    if isinstance(status, apps.ReplicaSetStatus):
        status.terminating_replicas = sum(1 for pod in pods if is_terminating(pod)) if len(active) < len(pods) else 0
    future = [seconds for seconds in waits if seconds]
    return Plan(create, delete, status, min(future) if future else None)


def _status(workload: Replicated, active: Sequence[core.Pod], waits: Sequence[float | None]) -> ReplicatedStatus:
    """The counts; conditions are kept as they are. ``waits`` are the seconds until each is available: None until it is ready."""
    labels = workload.spec.template.metadata.labels.items()
    status: Any = type(workload.status)(
        replicas=len(active),
        fully_labeled_replicas=sum(1 for pod in active if _has(pod.metadata.labels, labels)),
        ready_replicas=sum(1 for seconds in waits if seconds is not None),
        available_replicas=sum(1 for seconds in waits if seconds == 0),
        observed_generation=workload.metadata.generation,
    )
    status.conditions.extend(workload.status.conditions)
    return cast(ReplicatedStatus, status)


def _has(found: Mapping[str, str], wanted: Iterable[tuple[str, str]]) -> bool:
    return all(found.get(key) == value for key, value in wanted)
