"""Disruption budgets: which pods one is about, and what it says of itself. Specified by Kubernetes' policy/v1."""

from __future__ import annotations

from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.policy.v1 import policy_pb2 as policy
from knarr.machinery.errors import StatusError
from knarr.machinery.selectors import Selector, label_selector
from knarr.objects.conditions import set_condition

DISRUPTION_ALLOWED = "DisruptionAllowed"
SUFFICIENT, INSUFFICIENT, SYNC_FAILED = "SufficientPods", "InsufficientPods", "SyncFailed"


def budget_selector(budget: policy.PodDisruptionBudget) -> Selector | None:
    """What chooses its pods in its namespace; None where it chooses none: an absent selector, or one that means nothing."""
    if not budget.spec.HasField("selector"):
        return None
    try:
        return label_selector(budget.spec.selector)
    except StatusError:
        return None


def covers(budget: policy.PodDisruptionBudget, pod: core.Pod) -> bool:
    """Whether a budget of the pod's namespace is about it."""
    selector = budget_selector(budget)
    return selector is not None and selector.matches(pod.metadata.labels)


def set_disruption_allowed(status: policy.PodDisruptionBudgetStatus, now: datetime) -> None:
    """Says in the conditions what the counts and the observed generation say."""
    allowed = status.disruptions_allowed > 0
    reason = SUFFICIENT if allowed else INSUFFICIENT
    set_condition(status, DISRUPTION_ALLOWED, allowed, reason=reason, now=now, generation=status.observed_generation)
