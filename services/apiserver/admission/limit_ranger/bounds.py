"""What a LimitRange refuses, in Kubernetes' words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.quantity import Quantity
from knarr.objects.totals import exactly, limits_of, requests_of, totals


@dataclass(frozen=True, slots=True)
class Use:
    """What something asks for and may use."""

    requests: Mapping[str, Quantity]
    limits: Mapping[str, Quantity] = field(default_factory=dict)

    def is_as(self, other: Use | None, name: str) -> bool:
        """Whether it was the same before."""
        return other is not None and all(
            _same(mine.get(name), others.get(name)) for mine, others in ((self.requests, other.requests), (self.limits, other.limits))
        )


def pod_refusals(found: core.LimitRange, pod: core.Pod, old: core.Pod | None) -> Iterator[str]:
    """``old`` is what is stored, if anything."""
    for item in found.spec.limits:
        if item.type == "Container":
            for listed in ("containers", "init_containers"):
                before = {container.name: _use(container) for container in getattr(old.spec, listed)} if old is not None else {}
                for container in getattr(pod.spec, listed):
                    yield from _refusals(item, _use(container), before.get(container.name))
        elif item.type == "Pod":
            yield from _refusals(item, _use_of_pod(pod), _use_of_pod(old) if old is not None else None)


def claim_refusals(found: core.LimitRange, claim: core.PersistentVolumeClaim, old: core.PersistentVolumeClaim | None) -> Iterator[str]:
    """Of a claim only what it asks for counts."""
    use, before = Use(totals(claim.spec.resources.requests)), Use(totals(old.spec.resources.requests)) if old is not None else None
    for item in found.spec.limits:
        if item.type == "PersistentVolumeClaim":
            for name in _names(item.min, use, before):
                yield from _least(item.type, name, exactly(item.min[name]), use)
            for name in _names(item.max, use, before):
                yield from _most_asked(item.type, name, exactly(item.max[name]), use.requests)


def _refusals(item: core.LimitRangeItem, use: Use, before: Use | None) -> Iterator[str]:
    for name in _names(item.min, use, before):
        yield from _least(item.type, name, exactly(item.min[name]), use)
    for name in _names(item.max, use, before):
        yield from _most(item.type, name, exactly(item.max[name]), use)
    for name in _names(item.max_limit_request_ratio, use, before):
        yield from _ratio(item.type, name, exactly(item.max_limit_request_ratio[name]), use)


def _names(bounds: Iterable[str], use: Use, before: Use | None) -> list[str]:
    """Those that are to be looked at."""
    return [name for name in sorted(bounds) if not use.is_as(before, name)]


def _least(kind: str, name: str, least: Quantity, use: Use) -> Iterator[str]:
    request, limit = use.requests.get(name), use.limits.get(name)
    words = f"minimum {name} usage per {kind} is {least}"
    if request is None:
        yield f"{words}.  No request is specified"
    elif request < least:
        yield f"{words}, but request is {request}"
    elif limit is not None and limit < least:
        yield f"{words}, but limit is {limit}"


def _most(kind: str, name: str, most: Quantity, use: Use) -> Iterator[str]:
    request, limit = use.requests.get(name), use.limits.get(name)
    words = f"maximum {name} usage per {kind} is {most}"
    if limit is None:
        yield f"{words}.  No limit is specified"
    elif limit > most:
        yield f"{words}, but limit is {limit}"
    elif request is not None and request > most:
        yield f"{words}, but request is {request}"


def _most_asked(kind: str, name: str, most: Quantity, requests: Mapping[str, Quantity]) -> Iterator[str]:
    request, words = requests.get(name), f"maximum {name} usage per {kind} is {most}"
    if request is None:
        yield f"{words}.  No request is specified"
    elif request > most:
        yield f"{words}, but request is {request}"


def _ratio(kind: str, name: str, most: Quantity, use: Use) -> Iterator[str]:
    request, limit = use.requests.get(name), use.limits.get(name)
    words = f"{name} max limit to request ratio per {kind} is {most}"
    if request is None or not request.value:
        yield f"{words}, but no request is specified or request is 0"
    elif limit is None or not limit.value:
        yield f"{words}, but no limit is specified or limit is 0"
    elif limit.value > most.value * request.value:
        yield f"{words}, but provided ratio is {float(limit.value / request.value):f}"


def _use(container: core.Container) -> Use:
    return Use(totals(container.resources.requests), totals(container.resources.limits))


def _use_of_pod(pod: core.Pod) -> Use:
    return Use(requests_of(pod.spec), limits_of(pod.spec))


def _same(one: Quantity | None, other: Quantity | None) -> bool:
    return one.value == other.value if one is not None and other is not None else one is other
