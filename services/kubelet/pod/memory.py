"""How much memory a pod may use as a whole. Pure."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import quantity
from knarr.objects.pods import is_sidecar


def memory_limit(pod: core.Pod) -> int:
    """Bytes: of all its containers together, or of those that initialize it one after the other; what it says as a whole counts more.
    0 where one of them may use what it likes."""
    whole = pod.spec.resources.limits
    if "memory" in whole:
        return int(quantity.value(whole["memory"].string))
    limits = {spec.name: _limit(spec) for spec in (*pod.spec.init_containers, *pod.spec.containers)}
    if not all(limits.values()):
        return 0
    running, most = 0, 0
    for spec in pod.spec.init_containers:
        if is_sidecar(spec):
            running += limits[spec.name]
        most = max(most, running + (0 if is_sidecar(spec) else limits[spec.name]))
    return max(most, running + sum(limits[spec.name] for spec in pod.spec.containers))


def _limit(spec: core.Container) -> int:
    limits = spec.resources.limits
    return int(quantity.value(limits["memory"].string)) if "memory" in limits else 0
