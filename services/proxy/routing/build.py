"""Builds the routing table from Services and EndpointSlices.

Only ready endpoints count (an absent ``ready`` means ready). A slice's ports are matched by name. Two Services that claim the same
address and port cannot both have it: the older one keeps it and the other says so in its limitations.

A ``Router`` remembers the routes of each Service, so that a change costs the work of its own Service and one pass over the rest.
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


class Router:
    """Builds table after table; ``put`` what changed in between."""

    def __init__(self) -> None:
        self._routes: dict[tuple[int, str, str], list[Route]] = {}
        self._ages: dict[tuple[str, str], tuple[int, str, str]] = {}

    def put(self, namespace: str, name: str, service: core.Service | None, slices: Slices) -> None:
        """Takes a Service as it is now (None: it is gone), with all its slices."""
        age = self._ages.pop((namespace, name), None)
        if age is not None:
            del self._routes[age]
        routes = _routes(service, list(slices)) if service is not None else []
        if service is not None and routes:
            age = _age(service)
            self._ages[namespace, name] = age
            self._routes[age] = routes

    def table(self) -> RoutingTable:
        """The table for what was put; it does not depend on the order in which it was."""
        taken: dict[tuple[str, str, int], RouteKey] = {}
        table = {route.key: _claim(route, taken) for age in sorted(self._routes) for route in self._routes[age]}
        return {key: table[key] for key in sorted(table)}


def build_table(services: Iterable[core.Service], slices: Slices) -> RoutingTable:
    """The table for these objects, all at once."""
    slices_of: dict[tuple[str, str], list[discovery.EndpointSlice]] = defaultdict(list)
    for piece in slices:
        slices_of[service_of(piece)].append(piece)
    router = Router()
    for service in services:
        key = (service.metadata.namespace, service.metadata.name)
        router.put(*key, service, slices_of[key])
    return router.table()


def service_of(piece: discovery.EndpointSlice) -> tuple[str, str]:
    """Namespace and name of the Service a slice belongs to; the name is empty when it belongs to none."""
    return (piece.metadata.namespace, piece.metadata.labels.get(SERVICE_NAME_LABEL, ""))


def _age(service: core.Service) -> tuple[int, str, str]:
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


def _claim(route: Route, taken: dict[tuple[str, str, int], RouteKey]) -> Route:
    """Gives the route its addresses, but for those that an older one has."""
    limitations = list(route.limitations)
    free = []
    for ip in route.cluster_ips:
        owner = taken.setdefault((ip, route.protocol, route.port), route.key)
        if owner == route.key:
            free.append(ip)
        else:
            limitations.append(f"{ip}:{route.port} belongs to {owner}")
    node_port = route.node_port
    if node_port:
        owner = taken.setdefault(("", route.protocol, node_port), route.key)
        if owner != route.key:
            limitations.append(f"NodePort {node_port} belongs to {owner}")
            node_port = 0
    if len(limitations) == len(route.limitations):
        return route
    return Route(route.key, route.protocol, tuple(free), route.port, node_port, route.endpoints, tuple(limitations))
