"""The evaluators of all resources."""

from __future__ import annotations

from knarr.machinery.resources import Resource
from knarr.objects.quotas.claims import ClaimEvaluator
from knarr.objects.quotas.evaluator import Evaluator, counted
from knarr.objects.quotas.pods import PodEvaluator
from knarr.objects.quotas.services import ServiceEvaluator

# Events come and go by the thousand; nobody counts them.
IGNORED = frozenset({"events"})
# What of the core group was counted by its bare name before there was another one.
BARE = frozenset({"configmaps", "resourcequotas", "replicationcontrollers", "secrets"})
PODS, SERVICES, CLAIMS = "pods", "services", "persistentvolumeclaims"

_OF_CORE: dict[str, Evaluator] = {PODS: PodEvaluator(), SERVICES: ServiceEvaluator(), CLAIMS: ClaimEvaluator()}
_OF_CORE.update((plural, Evaluator(counted("", plural), plural)) for plural in BARE)


def evaluator_of(resource: Resource) -> Evaluator | None:
    """How its objects count; None for what no quota counts."""
    if not resource.namespaced or not resource.stored or resource.plural in IGNORED:
        return None
    group = resource.storage.group
    return (None if group else _OF_CORE.get(resource.plural)) or Evaluator(counted(group, resource.plural))
