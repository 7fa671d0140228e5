"""How much of the node's swap a pod's containers may use, by Kubernetes' memorySwap.swapBehavior. Pure.

https://kubernetes.io/docs/concepts/architecture/nodes/#swap-memory
"""

from __future__ import annotations

from dataclasses import dataclass

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.amounts import MEMORY, amount_of
from knarr.objects.pods import init_and_main_containers
from knarr.objects.qos import BURSTABLE, qos_of
from services.kubelet.node.machine import Machine
from services.kubelet.pod.critical import is_critical
from services.kubelet.settings import KubeletSettings
from services.kubelet.swap_behavior import LIMITED_SWAP


@dataclass(frozen=True, slots=True)
class NodeSwap:
    """``limited``: a container of a Burstable pod has as large a share of the swap as it asks for of the memory; else nobody has any. Both
    in bytes."""

    limited: bool = False
    memory_bytes: int = 0
    swap_bytes: int = 0

    def of(self, pod: core.Pod, spec: core.Container) -> int:
        """Bytes: none for critical pods, and for containers that ask for no memory, or for all that they may use."""
        if not (self.limited and self.memory_bytes) or qos_of(pod) != BURSTABLE or is_critical(pod):
            return 0
        asked, most = (amount_of(found, MEMORY) for found in (spec.resources.requests, spec.resources.limits))
        return 0 if asked == most else asked * self.swap_bytes // self.memory_bytes

    def of_pod(self, pod: core.Pod) -> int:
        """What its containers may use together, those that come one after the other too."""
        return sum(self.of(pod, spec) for spec in init_and_main_containers(pod.spec))


def node_swap(settings: KubeletSettings, machine: Machine) -> NodeSwap:
    """What pods may have of this machine's."""
    return NodeSwap(settings.swap_behavior == LIMITED_SWAP, machine.memory_bytes, machine.swap_bytes)


def swap_trouble(settings: KubeletSettings, machine: Machine, *, unified: bool) -> str:
    """Why the kubelet cannot run so on this machine; empty: it can. ``unified``: its control groups are of version 2."""
    if settings.fail_swap_on and machine.swap_bytes:
        return "this machine has swap, and --fail-swap-on was given: switch it off (swapoff -a), or leave that out"
    if settings.swap_behavior == LIMITED_SWAP and not unified:
        return (
            f"memory-swap-behavior {LIMITED_SWAP} needs control groups of version 2, and this machine has version 1:"
            " leave it out, or boot with systemd.unified_cgroup_hierarchy=1"
        )
    return ""
