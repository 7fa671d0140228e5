"""A container's resources as its engine is told them, and back. Pure."""

from __future__ import annotations

from collections.abc import MutableMapping

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import quantity
from knarr.objects.copies import copy_of
from services.kubelet.cpu import PERIOD_MICROS, SHARES_PER_CPU, quota_micros, shares
from services.kubelet.runtime.plan import Limits


def resource_limits(resources: core.ResourceRequirements, pod: core.PodSpec | None = None, *, alone: bool = False) -> Limits:
    """CPU shares by the request, or by the limit where there is none; quota and memory by the limits. They may change as it runs.
    ``pod`` is whose container it is: where that has no limit of its own, that of the whole pod holds. ``alone``: it has processors of its
    own, which are limit enough, so that it is never held up for a moment."""
    whole = pod.resources.limits if pod is not None else {}
    most = {name: whole[name].string for name in ("cpu", "memory") if name in whole}
    most |= {name: resources.limits[name].string for name in resources.limits}
    asked = {name: resources.requests[name].string for name in resources.requests}
    return Limits(
        cpu_shares=shares_of(asked.get("cpu") or most.get("cpu") or "0"),
        cpu_quota_micros=quota_micros(quantity.milli(most["cpu"])) if "cpu" in most and not alone else 0,
        memory_bytes=quantity.value(most["memory"]) if "memory" in most else 0,
    )


def told_resources(
    granted: core.ResourceRequirements, actual: Limits | None, pod: core.PodSpec | None = None, *, alone: bool = False
) -> core.ResourceRequirements:
    """What a running container has: what it was granted, but for what the engine still holds it to."""
    result: core.ResourceRequirements = copy_of(granted)
    wanted = resource_limits(granted, pod, alone=alone)
    if actual is None or not differs(actual, wanted):
        return result
    if actual.cpu_shares != wanted.cpu_shares:
        _tell(result.requests, "cpu", f"{-(-actual.cpu_shares * 1000 // SHARES_PER_CPU)}m")
    if actual.cpu_quota_micros != wanted.cpu_quota_micros:
        _tell(result.limits, "cpu", f"{actual.cpu_quota_micros * 1000 // PERIOD_MICROS}m")
    if actual.memory_bytes != wanted.memory_bytes:
        kibibytes, rest = divmod(actual.memory_bytes, 1024)
        _tell(result.limits, "memory", f"{kibibytes}Ki" if kibibytes and not rest else str(actual.memory_bytes))
    return result


def differs(actual: Limits, wanted: Limits) -> bool:
    """Whether a container is held to other amounts of CPU or memory. Swap follows from what it asks for."""
    return _amounts(actual) != _amounts(wanted)


def _amounts(limits: Limits) -> tuple[int, int, int]:
    return limits.cpu_shares, limits.cpu_quota_micros, limits.memory_bytes


def _tell(amounts: MutableMapping[str, meta.Quantity], name: str, text: str) -> None:
    """``0`` is none."""
    if text in ("0", "0m"):
        amounts.pop(name, None)
    else:
        amounts[name].string = quantity.canonical(text)


def shares_of(cpu: str) -> int:
    """The weight of so much CPU, a quantity, beside others'."""
    return shares(quantity.milli(cpu))
