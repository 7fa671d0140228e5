"""What claims ask for, in plain values: two claims that ask for the same are equal here, and so is what can be had for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.machinery import quantity
from knarr.objects.devices import ALL
from services.scheduler.plugin import Cluster, Impossible

Toleration = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Alternative:
    """One way to satisfy a request. ``request`` is the request's name, ``name`` what a result calls it: with a slash if there are several.

    ``count``: how many devices; None: all that there are. ``of_class`` and ``own`` are expressions.
    """

    request: str
    name: str
    device_class: str
    of_class: tuple[str, ...]
    own: tuple[str, ...]
    count: int | None = 1
    admin: bool = False
    tolerations: tuple[Toleration, ...] = ()
    capacity: tuple[tuple[str, Decimal], ...] = ()

    def is_named_in(self, names: Sequence[str]) -> bool:
        """Whether a list of requests means it; an empty one means all."""
        return not names or self.request in names or self.name in names


@dataclass(frozen=True, slots=True)
class Constraint:
    """All devices of some requests have the same value of an attribute, or no two have."""

    requests: tuple[str, ...]
    attribute: str
    distinct: bool


@dataclass(frozen=True, slots=True)
class Wish:
    """What one claim asks for: of each request one of its alternatives, the first that will do."""

    requests: tuple[tuple[Alternative, ...], ...]
    constraints: tuple[Constraint, ...] = ()


def wish_of(claim: Any, cluster: Cluster) -> Wish:
    """Raises Impossible where a class is not there, or something is asked that nobody knows."""
    devices = claim.spec.devices
    return Wish(
        tuple(tuple(_alternatives(request, cluster)) for request in devices.requests),
        tuple(_constraint(one) for one in devices.constraints),
    )


def _alternatives(request: Any, cluster: Cluster) -> Iterator[Alternative]:
    if request.HasField("exactly"):
        yield _alternative(request.name, request.name, request.exactly, cluster, admin=request.exactly.admin_access)
    for one in request.first_available:
        yield _alternative(request.name, f"{request.name}/{one.name}", one, cluster, admin=False)


def _alternative(request: str, name: str, wanted: Any, cluster: Cluster, *, admin: bool) -> Alternative:
    if not wanted.device_class_name:
        raise Impossible(f"request {name}: unsupported request type")
    found = cluster.get(resource.DeviceClass, "", wanted.device_class_name)
    if found is None:
        raise Impossible(f"request {name}: device class {wanted.device_class_name} does not exist")
    return Alternative(
        request=request,
        name=name,
        device_class=wanted.device_class_name,
        of_class=_expressions(found.spec.selectors),
        own=_expressions(wanted.selectors),
        count=None if wanted.allocation_mode == ALL else int(wanted.count or 1),
        admin=bool(admin),
        tolerations=tuple((one.key, one.operator, one.value, one.effect) for one in wanted.tolerations),
        capacity=tuple(sorted((key, quantity.parse(asked.string)) for key, asked in wanted.capacity.requests.items())),
    )


def _expressions(selectors: Iterable[Any]) -> tuple[str, ...]:
    return tuple(selector.cel.expression for selector in selectors)


def _constraint(one: Any) -> Constraint:
    distinct = bool(one.distinct_attribute)
    if not distinct and not one.match_attribute:
        raise Impossible("empty constraint (unsupported constraint type?)")
    return Constraint(tuple(one.requests), one.distinct_attribute if distinct else one.match_attribute, distinct)
