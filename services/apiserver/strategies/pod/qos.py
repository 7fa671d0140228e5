"""The quality-of-service class of a pod, from its containers' requests and limits."""

from __future__ import annotations

from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import quantity

COMPUTE = ("cpu", "memory")


def qos_class(spec: core.PodSpec) -> str:
    """BestEffort without any request or limit, Guaranteed when every container's are set and equal, else Burstable."""
    containers = [*spec.init_containers, *spec.containers]
    requests = [_amounts(container.resources.requests) for container in containers]
    limits = [_amounts(container.resources.limits) for container in containers]
    if not any(requests) and not any(limits):
        return "BestEffort"
    guaranteed = all(
        set(limit) == set(COMPUTE) and all(request.get(name, limit[name]) == limit[name] for name in COMPUTE)
        for request, limit in zip(requests, limits, strict=True)
    )
    return "Guaranteed" if guaranteed else "Burstable"


def _amounts(resources: Any) -> dict[str, Any]:
    found = {name: quantity.parse(resources[name].string) for name in COMPUTE if name in resources}
    return {name: amount for name, amount in found.items() if amount > 0}
