"""Which endpoints a port of a Service leads to: its pods, the ready ones; where there is none, those that still serve while
they terminate. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import AddressValueError, IPv4Address

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.objects.endpoints import takes_connections
from services.gateway.routing.actions import HTTP, HTTP2, HTTPS, Server, Target

EXTERNAL = "ExternalName"
# What `appProtocol` of a port says of how its pods are spoken to.
PROTOCOLS = {
    "http": HTTP,
    "https": HTTPS,
    "grpc": HTTP2,
    "h2c": HTTP2,
    "kubernetes.io/h2c": HTTP2,
    "kubernetes.io/ws": HTTP,
    "kubernetes.io/wss": HTTPS,
}
DEFAULT_AFFINITY_SECONDS = 10_800


def port_of(service: core.Service, target: Target) -> core.ServicePort | None:
    """By its number or name; None when it has none such."""
    for port in service.spec.ports:
        if target.port in (str(port.port), port.name) and port.protocol in ("", "TCP"):
            return port
    return None


def problem_of(service: core.Service | None, target: Target) -> str:
    """Why it leads nowhere, whatever its endpoints, in words; empty when it may."""
    if service is None:
        return f"there is no Service {target.namespace}/{target.service}"
    if service.spec.type == EXTERNAL:
        return "" if target.port.isdigit() else f"the Service {target.namespace}/{target.service} has no ports: give its number"
    if port_of(service, target) is None:
        return f"the Service {target.namespace}/{target.service} has no TCP port {target.port}"
    return ""


def protocol_of(service: core.Service | None, target: Target) -> str:
    """As its port says; empty when it says nothing that is known."""
    port = port_of(service, target) if service is not None else None
    return PROTOCOLS.get(port.app_protocol, "") if port is not None else ""


def affinity_seconds(service: core.Service | None) -> int:
    """How long a client stays with its pod; 0 when it does not."""
    if service is None or service.spec.session_affinity != "ClientIP":
        return 0
    return int(service.spec.session_affinity_config.client_ip.timeout_seconds) or DEFAULT_AFFINITY_SECONDS


def servers_of(service: core.Service | None, slices: Iterable[discovery.EndpointSlice], target: Target) -> tuple[Server, ...]:
    """In the order of their addresses. Of an ExternalName Service none: its name is to be resolved."""
    port = port_of(service, target) if service is not None else None
    if port is None:
        return ()
    found = list(_candidates(slices, port.name))
    ready = [server for server, is_ready in found if is_ready]
    return tuple(sorted(dict.fromkeys(ready or [server for server, _ in found])))


def _candidates(slices: Iterable[discovery.EndpointSlice], port_name: str) -> Iterable[tuple[Server, bool]]:
    for piece in slices:
        if piece.address_type not in ("", "IPv4"):
            continue
        numbers = [port.port for port in piece.ports if port.name == port_name and port.protocol in ("", "TCP") and port.port]
        for endpoint in piece.endpoints if numbers else ():
            ready = takes_connections(endpoint)
            leaves = bool(endpoint.conditions.serving) and bool(endpoint.conditions.terminating)
            if not endpoint.addresses or not (ready or leaves) or not is_reachable(endpoint.addresses[0]):
                continue
            pod = endpoint.target_ref.name if endpoint.target_ref.kind == "Pod" else ""
            for number in numbers:
                yield Server(endpoint.addresses[0], number, pod), ready


def is_reachable(address: str) -> bool:
    """Whether it is an IPv4 address of somebody else: what an object names must not lead to this machine's own insides."""
    try:
        found = IPv4Address(address)
    except AddressValueError:
        return False
    return not (found.is_loopback or found.is_link_local or found.is_unspecified or found.is_multicast)
