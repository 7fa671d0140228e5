"""Objects of Gateway API as they are read: JSON of a schema that this or a later release has. What is not as expected counts
as not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from services.gateway.routing.table import Origin

GROUP = "gateway.networking.k8s.io"
CONTROLLER = "knarr.io/gateway"
GATEWAY, HTTP_ROUTE, GRPC_ROUTE, TLS_ROUTE = "Gateway", "HTTPRoute", "GRPCRoute", "TLSRoute"
ROUTES = (HTTP_ROUTE, GRPC_ROUTE, TLS_ROUTE)

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Condition:
    """``status`` is ``True`` or ``False``."""

    type: str
    status: bool
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """References from objects of ``sources`` (group, kind, namespace) to those of ``targets`` (group, kind, name or empty for
    all) of a namespace."""

    namespace: str
    sources: frozenset[tuple[str, str, str]]
    targets: frozenset[tuple[str, str, str]]

    @classmethod
    def of(cls, found: Any) -> Grant:
        spec = spec_of(found)
        sources = frozenset((text(each, "group"), text(each, "kind"), text(each, "namespace")) for each in records(spec, "from"))
        targets = frozenset((text(each, "group"), text(each, "kind"), text(each, "name")) for each in records(spec, "to"))
        return cls(found.metadata.namespace, sources, targets)

    def allows(self, origin: Origin, kind: str, name: str) -> bool:
        """Of a Gateway or route to an object of the core group in its namespace."""
        if (GROUP, origin.kind, origin.namespace) not in self.sources:
            return False
        return bool({("", kind, name), ("", kind, "")} & self.targets)


@dataclass(slots=True)
class Facts:
    """What besides an object itself decides about it."""

    grants: list[Grant] = field(default_factory=list)
    namespaces: dict[str, Mapping[str, str]] = field(default_factory=dict)
    services: Any = None
    secrets: Any = None

    def permitted(self, origin: Origin, kind: str, namespace: str, name: str) -> bool:
        """Whether an object may refer to one of another namespace; to its own it may."""
        return namespace == origin.namespace or any(
            grant.namespace == namespace and grant.allows(origin, kind, name) for grant in self.grants
        )

    def service(self, namespace: str, name: str) -> core.Service | None:
        found: core.Service | None = self.services(namespace, name)
        return found

    def secret(self, namespace: str, name: str) -> core.Secret | None:
        found: core.Secret | None = self.secrets(namespace, name)
        return found


def origin_of(kind: str, found: Any) -> Origin:
    return Origin(kind, found.metadata.namespace, found.metadata.name)


def spec_of(found: Any) -> Json:
    return record(found.content, "spec")


def record(value: Json, name: str) -> Json:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def records(value: Json, name: str) -> Iterator[Json]:
    found = value.get(name)
    return (each for each in found if isinstance(each, dict)) if isinstance(found, list) else iter(())


def texts(value: Json, name: str) -> tuple[str, ...]:
    found = value.get(name)
    return tuple(each for each in found if isinstance(each, str)) if isinstance(found, list) else ()


def text(value: Json, name: str, default: str = "") -> str:
    found = value.get(name)
    return found if isinstance(found, str) else default


def number(value: Json, name: str, default: int = 0) -> int:
    found = value.get(name)
    return found if isinstance(found, int) and not isinstance(found, bool) else default
