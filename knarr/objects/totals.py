"""Amounts of resources exactly, and written as they were given: for what limits a namespace, and tells it in words.

``objects.amounts`` has them in whole units, for who compares thousands of pods with nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.quantity import Notation, Quantity, read
from knarr.objects.peaks import peak
from knarr.objects.whole_pods import is_of_whole_pods

Totals = dict[str, Quantity]

ZERO, ONE = Quantity(Decimal(0), Notation.DECIMAL), Quantity(Decimal(1), Notation.DECIMAL)


def exactly(amount: meta.Quantity) -> Quantity:
    """One amount; nothing where it is empty or malformed, which what is validated is not."""
    try:
        return read(amount.string or "0")
    except ValueError:
        return ZERO


def totals(amounts: Mapping[str, meta.Quantity]) -> Totals:
    """A ResourceList."""
    return {name: exactly(amounts[name]) for name in amounts}


def of_pod(spec: core.PodSpec, amounts_of: Callable[[core.Container], Totals], whole: Mapping[str, meta.Quantity]) -> Totals:
    """The most at any time; ``whole`` are the amounts of the pod as a whole, which count instead."""
    total = peak(spec, amounts_of)
    total.update((name, exactly(whole[name])) for name in whole if is_of_whole_pods(name))
    return total


def requests_of(spec: core.PodSpec) -> Totals:
    """What a pod asks for by its spec, without its overhead."""
    return of_pod(spec, lambda container: totals(container.resources.requests), spec.resources.requests)


def limits_of(spec: core.PodSpec) -> Totals:
    """What a pod may use by its spec, without its overhead."""
    return of_pod(spec, lambda container: totals(container.resources.limits), spec.resources.limits)


def only(amounts: Mapping[str, Quantity], names: Iterable[str]) -> Totals:
    """Those of some names."""
    return {name: amounts[name] for name in names if name in amounts}


def fill(field: Mapping[str, meta.Quantity], amounts: Mapping[str, Quantity]) -> None:
    """Writes them into a ResourceList, in their canonical form; what was there is gone."""
    field.clear()  # type: ignore[attr-defined]
    for name in sorted(amounts):
        field[name].string = str(amounts[name])
