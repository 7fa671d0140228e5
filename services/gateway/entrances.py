"""What is reached at which address: the one that Ingresses share, and one of each Gateway that has its own. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.client import membership
from knarr.objects.copies import copy_of
from services.gateway.haproxy.words import hash_of
from services.gateway.routing.table import Origin
from services.gateway.sources.gateway_api.gateways import wanted_address
from services.gateway.sources.gateway_api.objects import GATEWAY, record, spec_of

COMPONENT = "gateway"
# The settings of a load balancer's own: it opens no ports of nodes besides.
LOAD_BALANCER, LOCAL = "LoadBalancer", "Local"
# Of a Service: the Gateway that it is for, and what of its labels and annotations that one says.
GATEWAY_LABEL, GATEWAY_ANNOTATION = "gateway.networking.k8s.io/gateway-name", "knarr.io/gateway"
SAID_ANNOTATION = "knarr.io/gateway-infrastructure"
NAME_CHARS, LABEL_CHARS, HASH_CHARS = 24, 63, 8


@dataclass(frozen=True, slots=True)
class Entrance:
    """A Service, the ports that it is to have, each with the one that this instance opens for it, and those of them that it could not open.
    ``gateway``: the one whose own it is, which says ``labels`` and ``annotations`` and may ask for an ``address``."""

    service: str
    wanted: tuple[tuple[int, int], ...] = ()
    closed: frozenset[int] = frozenset()
    gateway: Origin | None = None
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    address: str = ""

    @property
    def open(self) -> list[tuple[int, int]]:
        return [(port, number) for port, number in self.wanted if port not in self.closed]


@dataclass(frozen=True, slots=True)
class Entrances:
    """All of an instance, and whether what is known is in force, before which nobody is to ask it."""

    all: tuple[Entrance, ...] = ()
    ready: bool = True

    @property
    def served(self) -> list[Entrance]:
        """Those where anything is."""
        return [each for each in self.all if each.wanted]


def entrance_of(shared: str, origin: Origin, gateway: Any, wanted: tuple[tuple[int, int], ...], closed: Collection[int]) -> Entrance:
    """A Gateway's own. ``shared`` is the name of the Service that the others share."""
    infrastructure = record(spec_of(gateway), "infrastructure")
    return Entrance(
        own_name(shared, origin), wanted, frozenset(closed), origin,
        _pairs(infrastructure, "labels"), _pairs(infrastructure, "annotations"), wanted_address(gateway),
    )  # fmt: skip


def own_name(shared: str, origin: Origin) -> str:
    """Of a Gateway's Service: whatever it is called, as names of Services are, and no other's."""
    short = re.sub(r"[^a-z0-9]+", "-", origin.name.lower())[:NAME_CHARS].strip("-")
    return f"{shared[: LABEL_CHARS - NAME_CHARS - HASH_CHARS - 2]}-{short}-{hash_of(str(origin))[:HASH_CHARS]}"


def _pairs(infrastructure: Mapping[str, Any], name: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((key, value) for key, value in record(infrastructure, name).items() if isinstance(value, str)))


def owner_of(service: core.Service) -> Origin | None:
    """The Gateway that a Service was made for; None: for none."""
    namespace, slash, name = service.metadata.annotations.get(GATEWAY_ANNOTATION, "").partition("/")
    return Origin(GATEWAY, namespace, name) if slash else None


def addresses_of(service: core.Service | None) -> tuple[str, ...]:
    """Of its load balancer: addresses, or names that have such."""
    found = service.status.load_balancer.ingress if service is not None else ()
    return tuple(entry.ip or entry.hostname for entry in found if entry.ip or entry.hostname)


def made_service(namespace: str, entrance: Entrance) -> core.Service:
    """As it is made where it is not there."""
    service = core.Service()
    service.metadata.namespace, service.metadata.name = namespace, entrance.service
    service.spec.type, service.spec.external_traffic_policy = LOAD_BALANCER, LOCAL
    service.spec.allocate_load_balancer_node_ports = False
    service.metadata.labels[membership.COMPONENT_LABEL] = COMPONENT
    return changed_service(service, entrance)


def changed_service(found: core.Service, entrance: Entrance) -> core.Service:
    """One that is there as an entrance wants it. Of the shared one only the ports are: whoever wants the rest otherwise may set it. What a
    Gateway said once and says no more is taken away."""
    fresh = copy_of(found)
    if {port.port for port in found.spec.ports} != {port for port, _ in entrance.wanted}:
        _put_ports(fresh, entrance.wanted)
    if entrance.gateway is None:
        return fresh
    said = {*fresh.metadata.annotations.get(SAID_ANNOTATION, "").split()}
    own_labels = {membership.COMPONENT_LABEL: COMPONENT, GATEWAY_LABEL: entrance.gateway.name[:LABEL_CHARS].rstrip("-.")}
    _put(fresh.metadata.labels, dict(entrance.labels), own_labels, {key.removeprefix("label:") for key in said if key.startswith("label:")})
    own_annotations = {GATEWAY_ANNOTATION: f"{entrance.gateway.namespace}/{entrance.gateway.name}"}
    if now := [*(f"label:{key}" for key, _ in entrance.labels), *(key for key, _ in entrance.annotations)]:
        own_annotations[SAID_ANNOTATION] = " ".join(now)
    _put(fresh.metadata.annotations, dict(entrance.annotations), own_annotations, said if now else said | {SAID_ANNOTATION})
    fresh.spec.load_balancer_ip = entrance.address
    return fresh


def _put(told: MutableMapping[str, str], wanted: dict[str, str], own: dict[str, str], before: Collection[str]) -> None:
    for key in set(before) - wanted.keys() - own.keys():
        told.pop(key, None)
    told.update({**wanted, **own})


def port_name(port: int) -> str:
    return f"port-{port}"


def named(service: core.Service | None, port: int) -> str:
    """What a Service calls a port."""
    found = service.spec.ports if service is not None else ()
    return next((str(each.name) for each in found if each.port == port), port_name(port))


def _put_ports(service: core.Service, wanted: Collection[tuple[int, int]]) -> None:
    """Ports that stay are left as they are."""
    kept = {port.port: copy_of(port) for port in service.spec.ports}
    del service.spec.ports[:]
    for port, number in wanted:
        if port in kept:
            service.spec.ports.append(kept[port])
        else:
            service.spec.ports.add(name=port_name(port), protocol="TCP", port=port).target_port.int_val = number
