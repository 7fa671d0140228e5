"""Whether the node takes a pod that is bound to it. Pure.

The scheduler has counted before it binds; a pod that was bound by hand (``spec.nodeName``), or by a
second scheduler, is counted here. A pod once taken stays, whatever comes later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.amounts import CPU, MEMORY, PODS, Amounts, amount_of, pod_requests, whole
from knarr.objects.host_ports import host_ports
from knarr.objects.pods import lasting_containers
from knarr.objects.qos import BEST_EFFORT, GUARANTEED, qos_of
from knarr.objects.resizes import INFEASIBLE
from knarr.objects.tolerations import MEMORY_PRESSURE, NO_SCHEDULE, untolerated
from services.kubelet.cpu_policy import STATIC
from services.kubelet.node.conditions import pressing
from services.kubelet.node.machine import Pressure
from services.kubelet.node.shutdown import REFUSED, REFUSED_MESSAGE
from services.kubelet.node.view import NO_MODULES, HostSecurity
from services.kubelet.pod.allocation import DEFERRED, restarts_for
from services.kubelet.pod.critical import is_critical
from services.kubelet.pod.facts import EVICTED
from services.kubelet.pod.protection import Refusal, unprotected
from services.kubelet.pod.swap import NodeSwap

# Everything about a pod is looked at anew after each change of it. The API server takes fewer; one may have been stored before it did.
MAX_CONTAINERS = 600


@dataclass(slots=True)
class Taken:
    """A pod that the node has taken. What it needs is counted once: each newcomer is held against all of them."""

    pod: core.Pod
    _needs: Amounts | None = None

    @property
    def needs(self) -> Amounts:
        if self._needs is None:
            self._needs = needs(self.pod)
        return self._needs


def leaving(stops: bool) -> Refusal | None:
    """Why a node that shuts down takes no pod; None: it does not."""
    return Refusal(REFUSED, REFUSED_MESSAGE) if stops else None


def pressed(pod: core.Pod, pressure: Pressure) -> Refusal | None:
    """Why a node that is short of something does not take a pod; None: it does. For want of memory it refuses those alone that ask for
    nothing, and do not tolerate it."""
    short = pressing(pressure)
    if not short or is_critical(pod):
        return None
    if pressure == Pressure(memory=True):
        untolerating = untolerated(pod.spec.tolerations, (core.Taint(key=MEMORY_PRESSURE, effect=NO_SCHEDULE),), (NO_SCHEDULE,))
        if not untolerating or qos_of(pod) != BEST_EFFORT:
            return None
    return Refusal(EVICTED, f"The node had condition: [{' '.join(short)}]. ")


def is_too_large(pod: core.Pod) -> bool:
    """Whether the pod has more containers than a kubelet can keep an eye on without neglecting others."""
    return len(pod.spec.containers) + len(pod.spec.init_containers) + len(pod.spec.ephemeral_containers) > MAX_CONTAINERS


def too_large() -> Refusal:
    return Refusal("TooManyContainers", f"Pod has more than {MAX_CONTAINERS} containers, the most that this kubelet takes")


def refusal(pod: core.Pod, taken: Iterable[Taken], allocatable: Mapping[str, str], host: HostSecurity = NO_MODULES) -> Refusal | None:
    """Why the node does not take a pod beside those it has ``taken``; None: it does.

    Resources that ``allocatable`` does not name are not the kubelet's to count.
    """
    if (missing := unprotected(pod, host)) is not None:
        return missing
    taken = list(taken)
    for name, (amount, used, offered) in _short(pod, taken, allocatable).items():
        numbers = f"requested: {amount}, used: {used}, capacity: {offered}"
        return Refusal(f"OutOf{name}", f"Node didn't have enough resource: {name}, {numbers}")
    return _port_refusal(pod, taken)


def _port_refusal(pod: core.Pod, taken: Iterable[Taken]) -> Refusal | None:
    ports = host_ports(pod.spec)
    if ports and any(port.clashes(other) for held in taken for other in host_ports(held.pod.spec) for port in ports):
        return Refusal("NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports")
    return None


def unfitting(pod: core.Pod, taken: Iterable[Taken], host: HostSecurity = NO_MODULES) -> Refusal | None:
    """Why a pod could not be taken if there were room for it; None: it could."""
    return unprotected(pod, host) or _port_refusal(pod, taken)


def missing(pod: core.Pod, taken: Iterable[Taken], allocatable: Mapping[str, str]) -> Amounts:
    """What the node would have to have more of to take a pod beside those it has ``taken``."""
    return {name: used + amount - offered for name, (amount, used, offered) in _short(pod, taken, allocatable).items()}


def _short(pod: core.Pod, taken: Iterable[Taken], allocatable: Mapping[str, str]) -> dict[str, tuple[int, int, int]]:
    """What there is not enough of for a pod: what it asks for, what is used, what there is."""
    offered = {name: whole(name, text) for name, text in allocatable.items()}
    wanted = {name: amount for name, amount in needs(pod).items() if amount > 0 and name in offered}
    used: Amounts = {}
    for other in taken:
        for name, amount in other.needs.items():
            used[name] = used.get(name, 0) + amount
    asked = {name: (amount, used.get(name, 0), offered[name]) for name, amount in wanted.items()}
    return {name: numbers for name, numbers in asked.items() if sum(numbers[:2]) > numbers[2]}


def pinned_refusal(pod: core.Pod, granted: core.Pod) -> Refusal | None:
    """Why a node that gives processors to pods alone does not grant one that runs what it asks for: a Guaranteed one keeps those that it
    began with, as with Kubernetes, where an alpha feature only changes that."""
    pairs = zip(lasting_containers(pod.spec), lasting_containers(granted.spec), strict=True)
    requests = ((spec.resources.requests, other.resources.requests) for spec, other in pairs)
    if qos_of(pod) != GUARANTEED or not any(amount_of(asked, CPU) != amount_of(had, CPU) for asked, had in requests):
        return None
    return Refusal(INFEASIBLE, f'Resize is infeasible for Guaranteed Pods alongside CPU Manager policy "{STATIC}"')


def swap_refusal(pod: core.Pod, granted: core.Pod, swap: NodeSwap) -> Refusal | None:
    """Why a container that may use swap does not get other memory while it runs, in Kubernetes' words; one that is started anew for it
    does."""
    for spec, other in zip(lasting_containers(pod.spec), lasting_containers(granted.spec), strict=True):
        both = (spec.resources.requests, other.resources.requests), (spec.resources.limits, other.resources.limits)
        changes = any(amount_of(asked, MEMORY) != amount_of(had, MEMORY) for asked, had in both)
        if changes and swap.of(granted, other) and not restarts_for(spec, cpu=False, memory=True):
            return Refusal(INFEASIBLE, "In-place resize of containers with swap is not supported.")
    return None


def resize_refusal(
    pod: core.Pod, taken: Iterable[Taken], allocatable: Mapping[str, str], host: HostSecurity = NO_MODULES
) -> Refusal | None:
    """Why the node does not grant a pod that runs what it asks for: it has not that much at all, or others have it now."""
    asked = needs(pod)
    for name in (MEMORY, CPU):
        offered = whole(name, allocatable.get(name, "0"))
        if name in allocatable and asked.get(name, 0) > offered:
            words = f"Node didn't have enough capacity: {name}, requested: {asked[name]}, capacity: {offered}"
            return Refusal(INFEASIBLE, words)
    held = refusal(pod, taken, allocatable, host)
    return None if held is None else Refusal(DEFERRED, held.message)


def needs(pod: core.Pod) -> Amounts:
    """What a pod takes of a node, its place among the pods included."""
    return {PODS: 1, **pod_requests(pod)}
