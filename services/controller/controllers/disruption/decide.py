"""Disruption budgets: from the pods that there are to how many may be disrupted now. Specified by Kubernetes' policy/v1."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.policy.v1 import policy_pb2 as policy
from knarr.machinery.times import to_datetime
from knarr.objects.conditions import set_condition
from knarr.objects.copies import copy_of
from knarr.objects.disruptions import DISRUPTION_ALLOWED, SYNC_FAILED, set_disruption_allowed
from knarr.objects.int_or_string import is_text, scaled_value
from knarr.objects.keys import is_deleting
from knarr.objects.owners import controller_of
from knarr.objects.pods import is_ready

# How long a pod whose eviction was granted may take to be marked as deleted; after that it counts again. Kubernetes' number.
DELETION_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Expected:
    """``count`` pods there shall be, ``healthy`` of them must be."""

    count: int
    healthy: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The ``status`` to report, the pods that were to be deleted and were not, and after how many seconds time alone changes it
    (None: never)."""

    status: policy.PodDisruptionBudgetStatus
    overdue: Sequence[core.Pod]
    again_seconds: float | None


def counts_controllers(budget: policy.PodDisruptionBudget) -> bool:
    """Whether what it asks for is a part of how many pods their controllers want."""
    spec = budget.spec
    return bool(spec.HasField("max_unavailable") or (spec.HasField("min_available") and is_text(spec.min_available)))


def controllers(pods: Iterable[core.Pod]) -> dict[str, tuple[meta.OwnerReference, core.Pod]]:
    """The controllers of pods by their uids, each with one of its pods."""
    found: dict[str, tuple[meta.OwnerReference, core.Pod]] = {}
    for pod in pods:
        reference = controller_of(pod)
        if reference is not None:
            found.setdefault(reference.uid, (reference, pod))
    return found


def unmanaged(pods: Iterable[core.Pod]) -> list[core.Pod]:
    """Those that no controller would replace."""
    return [pod for pod in pods if controller_of(pod) is None]


def expected(budget: policy.PodDisruptionBudget, pods: Sequence[core.Pod], scales: Mapping[str, int]) -> Expected:
    """``scales`` are the wished pods of each who decides on them, by uid; asked for only where ``counts_controllers``.

    Raises ValueError for a text that is no percentage.
    """
    spec, wished = budget.spec, sum(scales.values())
    if spec.HasField("max_unavailable"):
        return Expected(wished, max(wished - scaled_value(spec.max_unavailable, wished, round_up=True), 0))
    if not spec.HasField("min_available"):
        return Expected(0, 0)
    count = wished if is_text(spec.min_available) else len(pods)
    return Expected(count, scaled_value(spec.min_available, count, round_up=True))


def decide(budget: policy.PodDisruptionBudget, pods: Sequence[core.Pod], wanted: Expected, now: datetime) -> Plan:
    """``pods`` are those that the budget is about."""
    status = policy.PodDisruptionBudgetStatus(
        desired_healthy=wanted.healthy, expected_pods=wanted.count, observed_generation=budget.metadata.generation
    )
    overdue, waits = list[core.Pod](), list[float]()
    for pod in pods:
        name = pod.metadata.name
        if is_deleting(pod):
            continue
        if name in budget.status.disrupted_pods:
            granted = budget.status.disrupted_pods[name]
            left = DELETION_SECONDS - (now - to_datetime(granted)).total_seconds()
            if left > 0:
                status.disrupted_pods[name].CopyFrom(granted)
                waits.append(left)
                continue
            overdue.append(pod)
        status.current_healthy += is_ready(pod)
    # A budget without pods allows nothing: its first ones may be there before they are counted.
    status.disruptions_allowed = max(status.current_healthy - wanted.healthy, 0) if wanted.count > 0 else 0
    status.conditions.extend(budget.status.conditions)
    set_disruption_allowed(status, now)
    return Plan(status, overdue, min(waits, default=None))


def failed(budget: policy.PodDisruptionBudget, error: str, now: datetime) -> policy.PodDisruptionBudgetStatus:
    """The status when it is not known what may be disrupted: nothing."""
    status: policy.PodDisruptionBudgetStatus = copy_of(budget.status)
    status.disruptions_allowed = 0
    generation = status.observed_generation
    set_condition(status, DISRUPTION_ALLOWED, False, reason=SYNC_FAILED, message=error, now=now, generation=generation)
    return status
