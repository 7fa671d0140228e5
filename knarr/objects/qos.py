"""The quality-of-service class of a pod, from its containers' requests and limits."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.objects.amounts import exact
from knarr.objects.pods import init_and_main_containers
from knarr.objects.whole_pods import COMPUTE, asks_as_a_whole

GUARANTEED, BURSTABLE, BEST_EFFORT = "Guaranteed", "Burstable", "BestEffort"


def qos_class(spec: core.PodSpec) -> str:
    """BestEffort without any request or limit, Guaranteed when every container's are set and equal, else Burstable. Of a pod that asks as
    a whole only that counts."""
    asking = [spec.resources] if asks_as_a_whole(spec) else [container.resources for container in init_and_main_containers(spec)]
    requests = [_amounts(resources.requests) for resources in asking]
    limits = [_amounts(resources.limits) for resources in asking]
    if not any(requests) and not any(limits):
        return BEST_EFFORT
    guaranteed = all(
        set(limit) == set(COMPUTE) and all(request.get(name, limit[name]) == limit[name] for name in COMPUTE)
        for request, limit in zip(requests, limits, strict=True)
    )
    return GUARANTEED if guaranteed else BURSTABLE


def qos_of(pod: core.Pod) -> str:
    """The class that a pod was given, which a resize may not change; of one that has none yet, what its spec makes it."""
    return pod.status.qos_class or qos_class(pod.spec)


def _amounts(resources: Mapping[str, meta.Quantity]) -> dict[str, Decimal]:
    found = {name: exact(resources[name]) or Decimal(0) for name in COMPUTE if name in resources}
    return {name: value for name, value in found.items() if value > 0}
