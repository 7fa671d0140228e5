"""How much a pod asks for, in whole units: millicores of CPU, bytes of memory, counts of the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import quantity

CPU, MEMORY, PODS = "cpu", "memory", "pods"
# What a container that asks for nothing is taken to use when nodes are compared (not when they are filtered).
ASSUMED_CPU_MILLI, ASSUMED_MEMORY_BYTES = 100, 200 * 1024 * 1024

Amounts = dict[str, int]


def amounts(resources: Mapping[str, object]) -> Amounts:
    """A ResourceList in whole units."""
    return {name: whole(name, amount.string) for name, amount in resources.items()}  # type: ignore[attr-defined]


def whole(name: str, text: str) -> int:
    """One quantity in whole units, rounded up."""
    return quantity.milli(text) if name == CPU else quantity.value(text)


def pod_requests(pod: core.Pod) -> Amounts:
    """The most that the pod needs at any time: its containers together, or an init container beside the sidecars before it."""
    return _total(pod, assume=False)


def assumed_requests(pod: core.Pod) -> tuple[int, int]:
    """CPU and memory as above, with an assumed need for containers that ask for none."""
    total = _total(pod, assume=True)
    return total.get(CPU, 0), total.get(MEMORY, 0)


def _total(pod: core.Pod, assume: bool) -> Amounts:
    spec = pod.spec
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.init_containers:
        needs = _container(container, assume)
        if container.restart_policy == "Always":
            _add(sidecars, needs)
            needs = sidecars
        else:
            needs = _sum((needs, sidecars))
        for name, amount in needs.items():
            peak[name] = max(peak.get(name, 0), amount)
    total = _sum((sidecars, *(_container(container, assume) for container in spec.containers)))
    for name, amount in peak.items():
        total[name] = max(total.get(name, 0), amount)
    _add(total, amounts(spec.overhead))
    return total


def _container(container: core.Container, assume: bool) -> Amounts:
    needs = amounts(container.resources.requests)
    if assume:
        needs.setdefault(CPU, ASSUMED_CPU_MILLI)
        needs.setdefault(MEMORY, ASSUMED_MEMORY_BYTES)
    return needs


def _sum(parts: Iterable[Amounts]) -> Amounts:
    total: Amounts = {}
    for part in parts:
        _add(total, part)
    return total


def _add(total: Amounts, part: Amounts) -> None:
    for name, amount in part.items():
        total[name] = total.get(name, 0) + amount
