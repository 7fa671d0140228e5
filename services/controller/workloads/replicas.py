"""A number of pods of one template: from the pods that exist to those to create or delete, and the status to report.

What is decided here holds for ReplicaSets and for ReplicationControllers, which differ in how they choose their pods alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.selectors import label_selector
from knarr.objects.keys import is_deleting
from knarr.objects.pods import is_active, is_ready, is_terminating, seconds_until_available
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


@dataclass(frozen=True, slots=True)
class Replica:
    """What counts of one pod: whether it ``belongs`` by its labels, and has all that the template gives (``labeled``)."""

    pod: core.Pod
    belongs: bool
    labeled: bool
    active: bool
    ready: bool
    terminating: bool

    def seconds_until_available(self, min_ready_seconds: int, now: datetime) -> float | None:
        """As of its pod; without a time to wait, the pod need not be looked at."""
        if not min_ready_seconds:
            return 0.0 if self.ready else None
        return seconds_until_available(self.pod, min_ready_seconds, now)


def reader(workload: Replicated) -> Callable[[core.Pod], Replica]:
    """What reads pods as replicas of a workload, for as long as its spec stays as it is."""
    selector, labels = label_selector(workload.spec.selector), [*workload.spec.template.metadata.labels.items()]

    def read(pod: core.Pod) -> Replica:
        found = pod.metadata.labels
        labeled = all(found.get(key) == value for key, value in labels)
        return Replica(pod, selector.matches(found), labeled, is_active(pod), is_ready(pod), is_terminating(pod))

    return read


def decide(
    workload: Replicated, replicas: Sequence[Replica], siblings: Iterable[core.Pod], *, now: datetime, burst: int, settled: bool
) -> Plan:
    """``replicas`` are the workload's own pods; ``siblings`` those of all workloads of its owner.

    ``settled`` is False while own writes are still unseen: then nothing is created or deleted.
    """
    active = [replica for replica in replicas if replica.active]
    create, delete = 0, list[core.Pod]()
    if settled and not is_deleting(workload):
        surplus = len(active) - workload.spec.replicas
        create = min(max(-surplus, 0), burst)
        if surplus > 0:
            delete = rank_for_deletion([replica.pod for replica in active], siblings, now)[: min(surplus, burst)]
    min_ready_seconds = workload.spec.min_ready_seconds
    waits = [replica.seconds_until_available(min_ready_seconds, now) for replica in active]
    status = _status(workload, active, waits)
    if isinstance(status, apps.ReplicaSetStatus):
        status.terminating_replicas = sum(replica.terminating for replica in replicas)
    future = [seconds for seconds in waits if seconds]
    return Plan(create, delete, status, min(future) if future else None)


def _status(workload: Replicated, active: Sequence[Replica], waits: Sequence[float | None]) -> ReplicatedStatus:
    """The counts; conditions are kept as they are. ``waits`` are the seconds until each is available: None until it is ready."""
    status: Any = type(workload.status)(
        replicas=len(active),
        fully_labeled_replicas=sum(replica.labeled for replica in active),
        ready_replicas=sum(1 for seconds in waits if seconds is not None),
        available_replicas=sum(1 for seconds in waits if seconds == 0),
        observed_generation=workload.metadata.generation,
    )
    status.conditions.extend(workload.status.conditions)
    return cast(ReplicatedStatus, status)
