"""Whether the node takes a pod that is bound to it. Pure.

The scheduler has counted before it binds; a pod that was bound by hand (``spec.nodeName``), or by a
second scheduler, is counted here. A pod once taken stays, whatever comes later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.amounts import CPU, MEMORY, PODS, Amounts, pod_requests, whole
from knarr.objects.host_ports import host_ports
from knarr.objects.pods import init_and_main_containers
from knarr.objects.qos import BEST_EFFORT, qos_class
from knarr.objects.sysctls import dotted
from knarr.objects.tolerations import MEMORY_PRESSURE, NO_SCHEDULE, untolerated
from services.kubelet.node.machine import Pressure
from services.kubelet.pod.allocation import DEFERRED, INFEASIBLE
from services.kubelet.pod.critical import is_critical
from services.kubelet.pod.facts import EVICTED

# Everything about a pod is looked at anew after each change of it. The API server takes fewer; one may have been stored before it did.
MAX_CONTAINERS = 600

# A node's conditions that tell of what it is short of.
PRESSURES = ["MemoryPressure", "DiskPressure", "PIDPressure"]

# What a pod may set without harm to others on its node; Kubernetes' list.
SAFE_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    }
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Reason and message, as the pod's event and status show them."""

    reason: str
    message: str


def pressed(pod: core.Pod, pressure: Pressure) -> Refusal | None:
    """Why a node that is short of something does not take a pod; None: it does. For want of memory it refuses those alone that ask for
    nothing, and do not tolerate it."""
    short = [name for name, is_short in zip(PRESSURES, (pressure.memory, pressure.disk, pressure.pids), strict=True) if is_short]
    if not short or is_critical(pod):
        return None
    if short == PRESSURES[:1]:
        untolerating = untolerated(pod.spec.tolerations, (core.Taint(key=MEMORY_PRESSURE, effect=NO_SCHEDULE),), (NO_SCHEDULE,))
        if not untolerating or (pod.status.qos_class or qos_class(pod.spec)) != BEST_EFFORT:
            return None
    return Refusal(EVICTED, f"The node had condition: [{' '.join(short)}]. ")


def is_too_large(pod: core.Pod) -> bool:
    """Whether the pod has more containers than a kubelet can keep an eye on without neglecting others."""
    return len(pod.spec.containers) + len(pod.spec.init_containers) + len(pod.spec.ephemeral_containers) > MAX_CONTAINERS


def too_large() -> Refusal:
    return Refusal("TooManyContainers", f"Pod has more than {MAX_CONTAINERS} containers, the most that this kubelet takes")


def _unprotected(pod: core.Pod) -> Refusal | None:
    """Why a protection that the pod asks for would be missing; None: none would.

    The API server refuses to set these fields. Here they stop a pod that was stored before it did, or by somebody else.
    """
    spec = pod.spec
    if spec.os.name not in ("", "linux"):
        return Refusal("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
    if spec.HasField("host_users") and not spec.host_users:
        return Refusal("UserNamespacesNotSupported", "can't set spec.HostUsers: false, runtime does not support user namespaces")
    if spec.security_context.supplemental_groups_policy == "Strict":
        return Refusal("SupplementalGroupsPolicyNotSupported", "SupplementalGroupsPolicy=Strict is not supported in this node")
    own = [container.security_context for container in init_and_main_containers(spec)]
    contexts: list[core.PodSecurityContext | core.SecurityContext] = [spec.security_context, *own]
    for context in contexts:
        if context.seccomp_profile.type == "Localhost":
            return Refusal(
                "Seccomp", f'cannot load seccomp profile "{context.seccomp_profile.localhost_profile}": not supported in this node'
            )
        if context.app_armor_profile.type == "Localhost":
            return Refusal("AppArmor", f'Cannot enforce AppArmor: profile "{context.app_armor_profile.localhost_profile}" is not loaded')
    return None


def refusal(pod: core.Pod, taken: Iterable[core.Pod], allocatable: Mapping[str, str]) -> Refusal | None:
    """Why the node does not take a pod beside those it has ``taken``; None: it does.

    Resources that ``allocatable`` does not name are not the kubelet's to count.
    """
    if (missing := _unprotected(pod)) is not None:
        return missing
    unsafe = next((entry.name for entry in pod.spec.security_context.sysctls if dotted(entry.name) not in SAFE_SYSCTLS), "")
    if unsafe:
        return Refusal("SysctlForbidden", f'forbidden sysctl: "{unsafe}" not allowlisted')
    taken = list(taken)
    offered = {name: whole(name, text) for name, text in allocatable.items()}
    wanted = {name: amount for name, amount in _needs(pod).items() if amount > 0 and name in offered}
    used: Amounts = {}
    for other in taken:
        for name, amount in _needs(other).items():
            used[name] = used.get(name, 0) + amount
    for name, amount in wanted.items():
        if used.get(name, 0) + amount > offered[name]:
            numbers = f"requested: {amount}, used: {used.get(name, 0)}, capacity: {offered[name]}"
            return Refusal(f"OutOf{name}", f"Node didn't have enough resource: {name}, {numbers}")
    ports = host_ports(pod.spec)
    if ports and any(port.clashes(other) for held in taken for other in host_ports(held.spec) for port in ports):
        return Refusal("NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports")
    return None


def resize_refusal(pod: core.Pod, taken: Iterable[core.Pod], allocatable: Mapping[str, str]) -> Refusal | None:
    """Why the node does not grant a pod that runs what it asks for: it has not that much at all, or others have it now."""
    needs = _needs(pod)
    for name in (MEMORY, CPU):
        offered = whole(name, allocatable.get(name, "0"))
        if name in allocatable and needs.get(name, 0) > offered:
            words = f"Node didn't have enough capacity: {name}, requested: {needs[name]}, capacity: {offered}"
            return Refusal(INFEASIBLE, words)
    held = refusal(pod, taken, allocatable)
    return None if held is None else Refusal(DEFERRED, held.message)


def _needs(pod: core.Pod) -> Amounts:
    return {PODS: 1, **pod_requests(pod)}
