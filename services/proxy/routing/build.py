"""Builds the routing table from Services and EndpointSlices.

Only ready endpoints count (an absent ``ready`` means ready). A slice's ports are matched by name. Two Services that claim the same
address and port cannot both have it: the older one keeps it and the other says so in its limitations.

A ``Router`` remembers the routes of each Service and who claims what, so that a change costs the work of its own Service and of
those with which it shares a claim.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from services.proxy.routing.table import Endpoint, Route, RouteKey, RoutingTable

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
PROTOCOLS = {"": "tcp", "TCP": "tcp", "UDP": "udp"}

Slices = Iterable[discovery.EndpointSlice]


Name = tuple[str, str]
Age = tuple[int, str, str]
# An address (empty: all of the node's), a protocol and a port.
Claim = tuple[str, str, int]


class Router:
    """Builds table after table; ``put`` what changed in between. ``table`` does not depend on the order in which it was put."""

    def __init__(self) -> None:
        self.table: dict[RouteKey, Route] = {}
        self._wished: dict[Name, list[Route]] = {}
        self._claimants: dict[Claim, dict[RouteKey, tuple[Age, int]]] = {}

    def put(self, namespace: str, name: str, service: core.Service | None, slices: Slices) -> set[RouteKey]:
        """Takes a Service as it is now (None: it is gone), with all its slices. Returns the keys that may have changed in the table."""
        affected = {(namespace, name)}
        before = self._wished.pop((namespace, name), [])
        for route in before:
            for claim in _claims(route):
                claimants = self._claimants.get(claim, {})
                claimants.pop(route.key, None)
                affected.update((key.namespace, key.service) for key in claimants)
                if not claimants:
                    self._claimants.pop(claim, None)
        routes = _routes(service, list(slices)) if service is not None else []
        if service is not None and routes:
            self._wished[namespace, name] = routes
            for position, route in enumerate(routes):
                for claim in _claims(route):
                    claimants = self._claimants.setdefault(claim, {})
                    affected.update((key.namespace, key.service) for key in claimants)
                    claimants[route.key] = (_age(service), position)
        touched = {route.key for route in before}
        for key in touched:
            self.table.pop(key, None)
        for other in affected:
            for route in self._wished.get(other, []):
                self.table[route.key] = self._settled(route)
                touched.add(route.key)
        return touched

    def _settled(self, route: Route) -> Route:
        """Gives the route its addresses, but for those that an older one has."""
        limitations = list(route.limitations)
        free = []
        for ip in route.cluster_ips:
            owner = self._owner((ip, route.protocol, route.port))
            if owner == route.key:
                free.append(ip)
            else:
                limitations.append(f"{ip}:{route.port} belongs to {owner}")
        node_port = route.node_port
        if node_port:
            owner = self._owner(("", route.protocol, node_port))
            if owner != route.key:
                limitations.append(f"NodePort {node_port} belongs to {owner}")
                node_port = 0
        if len(limitations) == len(route.limitations):
            return route
        return Route(route.key, route.protocol, tuple(free), route.port, node_port, route.endpoints, tuple(limitations))

    def _owner(self, claim: Claim) -> RouteKey:
        claimants = self._claimants[claim]
        return min(claimants, key=claimants.__getitem__)


def build_table(services: Iterable[core.Service], slices: Slices) -> RoutingTable:
    """The table for these objects, all at once, in the order of the keys."""
    slices_of: dict[Name, list[discovery.EndpointSlice]] = defaultdict(list)
    for piece in slices:
        slices_of[service_of(piece)].append(piece)
    router = Router()
    for service in services:
        key = (service.metadata.namespace, service.metadata.name)
        router.put(*key, service, slices_of[key])
    return {key: router.table[key] for key in sorted(router.table)}


def service_of(piece: discovery.EndpointSlice) -> Name:
    """Namespace and name of the Service a slice belongs to; the name is empty when it belongs to none."""
    return (piece.metadata.namespace, piece.metadata.labels.get(SERVICE_NAME_LABEL, ""))


def _age(service: core.Service) -> Age:
    return (service.metadata.creation_timestamp.seconds, service.metadata.namespace, service.metadata.name)


def _routes(service: core.Service, slices: list[discovery.EndpointSlice]) -> list[Route]:
    spec = service.spec
    if spec.type == "ExternalName":
        return []
    cluster_ips = tuple(sorted({ip for ip in (spec.cluster_ip, *spec.cluster_ips) if _is_ipv4(ip)}))
    if not cluster_ips:
        return []
    limitations = _limitations(spec)
    routes = []
    for port in spec.ports:
        protocol = PROTOCOLS.get(port.protocol)
        if protocol is None:
            continue
        routes.append(
            Route(
                key=RouteKey(service.metadata.namespace, service.metadata.name, port.name),
                protocol=protocol,
                cluster_ips=cluster_ips,
                port=port.port,
                node_port=port.node_port,
                endpoints=_endpoints(slices, port.name, protocol),
                limitations=limitations,
            )
        )
    return routes


def _endpoints(slices: list[discovery.EndpointSlice], port_name: str, protocol: str) -> tuple[Endpoint, ...]:
    found: dict[tuple[str, int], Endpoint] = {}
    for piece in slices:
        if piece.address_type not in ("", "IPv4"):
            continue
        numbers = [port.port for port in piece.ports if port.name == port_name and PROTOCOLS.get(port.protocol) == protocol and port.port]
        for endpoint in piece.endpoints:
            if not _is_ready(endpoint) or not endpoint.addresses or not _is_ipv4(endpoint.addresses[0]):
                continue
            pod = endpoint.target_ref.name if endpoint.target_ref.kind == "Pod" else ""
            for number in numbers:
                address = endpoint.addresses[0]
                known = found.get((address, number))
                found[address, number] = max(known, Endpoint(address, number, pod)) if known else Endpoint(address, number, pod)
    return tuple(sorted(found.values()))


def _is_ready(endpoint: discovery.Endpoint) -> bool:
    return bool(endpoint.conditions.ready) or not endpoint.conditions.HasField("ready")


def _is_ipv4(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 4
    except ValueError:
        return False


def _limitations(spec: core.ServiceSpec) -> tuple[str, ...]:
    found = []
    if spec.session_affinity == "ClientIP":
        found.append("sessionAffinity ClientIP is not kept")
    if spec.external_ips:
        found.append("externalIPs are not served")
    if spec.type == "LoadBalancer":
        found.append("load balancer addresses are not served")
    if spec.external_traffic_policy == "Local":
        found.append("externalTrafficPolicy Local is treated as Cluster")
    if spec.internal_traffic_policy == "Local":
        found.append("internalTrafficPolicy Local is treated as Cluster")
    if any(port.protocol not in PROTOCOLS for port in spec.ports):
        found.append("only TCP and UDP ports are served")
    if any(":" in ip for ip in spec.cluster_ips):
        found.append("IPv6 addresses are not served")
    return tuple(found)


def _claims(route: Route) -> list[Claim]:
    claims: list[Claim] = [(ip, route.protocol, route.port) for ip in route.cluster_ips]
    return [*claims, ("", route.protocol, route.node_port)] if route.node_port else claims
