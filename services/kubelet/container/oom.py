"""The ``oom_score_adj`` of containers, by their pod's quality of service, as Kubernetes sets it."""

from __future__ import annotations

from functools import cache

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import quantity
from knarr.objects.amounts import MEMORY, amounts
from knarr.objects.pods import lasting_containers
from knarr.objects.qos import qos_of
from services.kubelet.proc import PROC, has_capabilities

GUARANTEED, BEST_EFFORT = -997, 1000
CAP_SYS_RESOURCE = 24


def oom_score_adj(pod: core.Pod, spec: core.Container, node_memory_bytes: int, lowest: int) -> int:
    """The kernel's adjustment, -1000 (last) to 1000 (first), never below ``lowest``. Burstable: the less asked for, the sooner."""
    match qos_of(pod):
        case "Guaranteed":
            wanted = GUARANTEED
        case "BestEffort":
            wanted = BEST_EFFORT
        case _:
            asked = _share(pod.spec, spec)
            wanted = min(max(1000 - 1000 * asked // max(node_memory_bytes, 1), 1000 + GUARANTEED), BEST_EFFORT - 1)
    return max(wanted, lowest)


def _share(pod: core.PodSpec, spec: core.Container) -> int:
    """What a container asks for of memory, and its equal part of what its pod asks for beyond its containers."""
    asked = amounts(spec.resources.requests).get(MEMORY, 0)
    if MEMORY not in pod.resources.requests:
        return asked
    of_containers = sum(amounts(found.resources.requests).get(MEMORY, 0) for found in lasting_containers(pod))
    beyond = max(quantity.value(pod.resources.requests[MEMORY].string) - of_containers, 0)
    return asked + beyond // len(lasting_containers(pod))


@cache
def lowest_possible() -> int:
    """The lowest score that this process may give: without CAP_SYS_RESOURCE not below its own."""
    return -1000 if has_capabilities(CAP_SYS_RESOURCE) else int((PROC / "self" / "oom_score_adj").read_text())
