"""The quality-of-service class of a pod, from its containers' requests and limits."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.objects.amounts import exact
from knarr.objects.pods import init_and_main_containers

GUARANTEED, BURSTABLE, BEST_EFFORT = "Guaranteed", "Burstable", "BestEffort"
COMPUTE = ("cpu", "memory")


def qos_class(spec: core.PodSpec) -> str:
    """BestEffort without any request or limit, Guaranteed when every container's are set and equal, else Burstable."""
    containers = init_and_main_containers(spec)
    requests = [_amounts(container.resources.requests) for container in containers]
    limits = [_amounts(container.resources.limits) for container in containers]
    if not any(requests) and not any(limits):
        return BEST_EFFORT
    guaranteed = all(
        set(limit) == set(COMPUTE) and all(request.get(name, limit[name]) == limit[name] for name in COMPUTE)
        for request, limit in zip(requests, limits, strict=True)
    )
    return GUARANTEED if guaranteed else BURSTABLE


def _amounts(resources: Mapping[str, meta.Quantity]) -> dict[str, Decimal]:
    found = {name: exact(resources[name]) or Decimal(0) for name in COMPUTE if name in resources}
    return {name: value for name, value in found.items() if value > 0}
