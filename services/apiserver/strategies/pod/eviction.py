"""What an eviction makes of a pod and of its disruption budget. Pure; specified by Kubernetes' ``pods/eviction``."""

from __future__ import annotations

from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.policy.v1 import policy_pb2 as policy
from knarr.machinery.errors import Cause, StatusError, forbidden, status_error
from knarr.machinery.times import to_time
from knarr.objects.conditions import set_condition
from knarr.objects.disruptions import set_disruption_allowed
from knarr.objects.keys import is_deleting
from knarr.objects.pods import PENDING, is_finished, is_ready

# So many evictions may be granted that the disruption controller has not seen yet: Kubernetes' bound for the map in the status.
MAX_DISRUPTED_PODS = 2000
# When a budget that is behind, or a pod that has changed, may be asked about again: Kubernetes' own number.
RETRY_AFTER_SECONDS = 10
VIOLATED = "Cannot evict pod as it would violate the pod's disruption budget."
SEVERAL = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
# Reason and message of the condition DisruptionTarget.
EVICTED = ("EvictionByEvictionAPI", "Eviction API: evicting")


def is_ungoverned(pod: core.Pod) -> bool:
    """Whether no budget is asked: it disrupts nothing any more, or nothing yet."""
    return is_finished(pod) or pod.status.phase == PENDING or is_deleting(pod)


def may_become_ready(pod: core.Pod) -> bool:
    """Whether one that is ungoverned may be governed in the next moment."""
    return not is_finished(pod) and not is_deleting(pod)


def is_spared(budget: policy.PodDisruptionBudget, pod: core.Pod) -> bool:
    """Whether the pod goes without costing its budget anything: it is not ready, so that nobody counts on it."""
    if is_ready(pod):
        return False
    if budget.spec.unhealthy_pod_eviction_policy == "AlwaysAllow":
        return True
    return 0 < budget.status.desired_healthy <= budget.status.current_healthy


def spend(budget: policy.PodDisruptionBudget, pod: str, now: datetime) -> None:
    """Takes the disruption of the pod of that name out of the budget's status. Raises TooManyRequests, Forbidden where it has none left."""
    name, status = budget.metadata.name, budget.status
    if status.observed_generation < budget.metadata.generation:
        raise unsettled(name)
    if status.disruptions_allowed < 0:
        raise forbidden("poddisruptionbudget", name, "pdb disruptions allowed is negative", "policy")
    if len(status.disrupted_pods) > MAX_DISRUPTED_PODS:
        detail = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise forbidden("poddisruptionbudget", name, detail, "policy")
    if not status.disruptions_allowed:
        needs = f"needs {status.desired_healthy} healthy pods and has {status.current_healthy} currently"
        raise _violated(f"The disruption budget {name} {needs}")
    status.disruptions_allowed -= 1
    if not status.disruptions_allowed:
        set_disruption_allowed(status, now)
    status.disrupted_pods[pod].CopyFrom(to_time(now))


def unsettled(budget: str) -> StatusError:
    """The refusal while it is not known what the budget allows."""
    return _violated(f"The disruption budget {budget} is still being processed by the server.", RETRY_AFTER_SECONDS)


def _violated(detail: str, retry_after_seconds: int = 0) -> StatusError:
    causes = [Cause("DisruptionBudget", detail, "")]
    return status_error("TooManyRequests", VIOLATED, causes=causes, retry_after_seconds=retry_after_seconds)


def mark_evicted(pod: core.Pod, now: datetime) -> None:
    """Says in its conditions why it goes."""
    reason, message = EVICTED
    set_condition(pod.status, "DisruptionTarget", True, reason=reason, message=message, now=now, generation=pod.metadata.generation)
