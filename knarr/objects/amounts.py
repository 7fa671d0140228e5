"""Amounts of resources: what a pod asks for and may use, in whole units.

Whole units are millicores of CPU, bytes of memory and storage, and counts of everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import quantity
from knarr.objects.peaks import add, at_least, peak
from knarr.objects.pods import init_and_main_containers
from knarr.objects.resizes import held_by
from knarr.objects.whole_pods import is_of_whole_pods

CPU, MEMORY, PODS = "cpu", "memory", "pods"
# What a container that asks for nothing is taken to use when nodes are compared (not when they are filtered).
ASSUMED_CPU_MILLI, ASSUMED_MEMORY_BYTES = 100, 200 * 1024 * 1024

Amounts = dict[str, int]


def exact(amount: meta.Quantity) -> Decimal | None:
    """The exact value, 0 when empty; None when it is malformed."""
    try:
        return quantity.parse(amount.string or "0")
    except ValueError:
        return None


def amounts(resources: Mapping[str, meta.Quantity]) -> Amounts:
    """A ResourceList in whole units."""
    return {name: whole(name, amount.string) for name, amount in resources.items()}


def amount_of(resources: Mapping[str, meta.Quantity], name: str) -> int:
    """One amount of a ResourceList in whole units; 0 where it has none."""
    return whole(name, resources[name].string) if name in resources else 0


def whole(name: str, text: str) -> int:
    """One quantity in whole units, rounded up."""
    return quantity.milli(text) if name == CPU else quantity.value(text)


def shown(name: str, amount: int, *, up: bool = False) -> str:
    """An amount in whole units for a person: of bytes only what counts, rounded down, or ``up``."""
    if name == CPU:
        return quantity.canonical(f"{amount}m")
    if name not in (MEMORY, "ephemeral-storage") and not name.startswith("hugepages-"):
        return str(amount)
    for unit, size in (("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)):
        # As few digits as tell it within a hundredth; whole ones always.
        if amount and (amount % size == 0 or abs(amount) >= 100 * size):
            return f"{-(-amount // size) if up else amount // size}{unit}"
    return str(amount)


def taken(pod: core.Pod) -> tuple[Amounts, tuple[int, int]]:
    """Of a pod on a node what it asks for, and CPU and memory as ``assumed_requests``; while it is resized, the larger of what it has and
    what it shall have."""
    lists = held_by(pod)

    def held(container: core.Container) -> Amounts:
        found: Amounts = {}
        for resources in lists(container):
            at_least(found, amounts(resources))
        return found

    def assumed(container: core.Container) -> Amounts:
        return _with_assumed(held(container))

    return _together(pod.spec, held), _cpu_and_memory(_together(pod.spec, assumed))


def is_resizing(pod: core.Pod) -> bool:
    """Whether some container has not what it asks for: less, more, or it is told so."""
    if not pod.status.container_statuses:
        return False
    lists = held_by(pod)

    def differs(container: core.Container) -> bool:
        wanted = container.resources.requests
        others = ((name, found[name].string) for found in lists(container) for name in found if name in wanted)
        # Mostly they are written alike.
        return any(text != wanted[name].string and whole(name, text) != whole(name, wanted[name].string) for name, text in others)

    return any(differs(one) for one in init_and_main_containers(pod.spec))


def pod_requests(pod: core.Pod) -> Amounts:
    """The most that the pod needs at any time: what it asks for as a whole, or its containers together, or an init container beside the
    sidecars before it."""
    return _together(pod.spec, _requests)


def assumed_requests(pod: core.Pod) -> tuple[int, int]:
    """CPU and memory as requested, with an assumed need for containers that ask for none."""
    return _cpu_and_memory(_together(pod.spec, _assumed))


def _requests(container: core.Container) -> Amounts:
    return amounts(container.resources.requests)


def _assumed(container: core.Container) -> Amounts:
    return _with_assumed(_requests(container))


def _with_assumed(asked: Amounts) -> Amounts:
    """CPU and memory are taken to be used where they are not asked for."""
    return {CPU: ASSUMED_CPU_MILLI, MEMORY: ASSUMED_MEMORY_BYTES, **asked}


def _together(spec: core.PodSpec, of: Callable[[core.Container], Amounts]) -> Amounts:
    """What a pod takes whose containers take that, with its overhead."""
    return _with_overhead(_as_a_whole(peak(spec, of), spec), spec)


def _cpu_and_memory(total: Amounts) -> tuple[int, int]:
    return total.get(CPU, 0), total.get(MEMORY, 0)


def _as_a_whole(total: Amounts, spec: core.PodSpec) -> Amounts:
    """What is asked for the pod as a whole counts instead of what its containers ask for."""
    total.update((name, whole(name, amount.string)) for name, amount in spec.resources.requests.items() if is_of_whole_pods(name))
    return total


def _with_overhead(total: Amounts, spec: core.PodSpec) -> Amounts:
    add(total, amounts(spec.overhead))
    return total


def is_extended(resource: str) -> bool:
    """Whether a resource is one that Kubernetes knows nothing of: ``example.com/gpu``."""
    return "/" in resource and "kubernetes.io/" not in resource and not resource.startswith("requests.")
