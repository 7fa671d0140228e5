"""Builds the routing table from Services and EndpointSlices.

A slice's ports are matched by name. Two Services that claim the same address and port cannot both have it, whatever classes of addresses
they have it in: the older one keeps it and the other says so in its limitations.

A ``Router`` remembers the routes of each Service and who claims what, so that a change costs the work of its own Service and of
those with which it shares a claim.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.objects.labels import SERVICE_NAME
from services.proxy.routing.endpoints import Place
from services.proxy.routing.host_ports import routes_of_pod
from services.proxy.routing.table import Name, Route, RouteKey, RoutingTable
from services.proxy.routing.wishes import routes_of

Slices = Iterable[discovery.EndpointSlice]

Age = tuple[int, str, str]
# An address (empty: all of the node's), a protocol and a port.
Claim = tuple[str, str, int]


class Router:
    """Builds table after table; ``put`` what changed in between. ``table`` does not depend on the order in which it was put."""

    def __init__(self, place: Place | None = None) -> None:
        """``place``: whose endpoints are local, and who is near. Once it is another, put what it matters to."""
        self.place = place or Place()
        self.table: dict[RouteKey, Route] = {}
        self._wished: dict[Name, list[Route]] = {}
        self._claimants: dict[Claim, dict[RouteKey, tuple[Age, int]]] = {}

    def put(self, namespace: str, name: str, service: core.Service | None, slices: Slices) -> set[RouteKey]:
        """Takes a Service as it is now (None: it is gone), with all its slices. Returns the keys that may have changed in the table."""
        if service is None:
            return self.put_routes((namespace, name), _age(None), [])
        return self.put_routes((namespace, name), _age(service.metadata), routes_of(service, list(slices), self.place))

    def put_pod(self, owner: Name, pod: core.Pod | None) -> set[RouteKey]:
        """Takes a pod of this node and its host ports in the same way."""
        return self.put_routes(owner, _age(pod.metadata if pod else None), routes_of_pod(pod) if pod else [])

    def put_routes(self, owner: Name, age: Age, routes: list[Route]) -> set[RouteKey]:
        """Takes all routes that somebody wants by now."""
        affected = {owner}
        before = self._wished.pop(owner, [])
        for route in before:
            for claim in _claims(route):
                claimants = self._claimants.get(claim, {})
                claimants.pop(route.key, None)
                affected.update((key.namespace, key.service) for key in claimants)
                if not claimants:
                    self._claimants.pop(claim, None)
        if routes:
            self._wished[owner] = routes
            for position, route in enumerate(routes):
                for claim in _claims(route):
                    claimants = self._claimants.setdefault(claim, {})
                    affected.update((key.namespace, key.service) for key in claimants)
                    claimants[route.key] = (age, position)
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
        refused = {claim: owner for claim in _claims(route) if (owner := self._owner(claim)) != route.key}
        if not refused:
            return route
        limitations = [*route.limitations]
        for (ip, _, port), owner in sorted(refused.items(), key=lambda item: (not item[0][0], item)):
            limitations.append(f"{ip}:{port} belongs to {owner}" if ip else f"NodePort {port} belongs to {owner}")
        taken = {ip for ip, _, _ in refused}
        return replace(
            route,
            cluster_ips=tuple(ip for ip in route.cluster_ips if ip not in taken),
            external_ips=tuple(ip for ip in route.external_ips if ip not in taken),
            load_balancer_ips=tuple(ip for ip in route.load_balancer_ips if ip not in taken),
            host_ips=tuple(ip for ip in route.host_ips if ip not in taken),
            node_port=0 if "" in taken else route.node_port,
            limitations=tuple(limitations),
        )

    def _owner(self, claim: Claim) -> RouteKey:
        claimants = self._claimants[claim]
        return min(claimants, key=claimants.__getitem__)


def build_table(services: Iterable[core.Service], slices: Slices, place: Place | None = None) -> RoutingTable:
    """The table for these objects, all at once, in the order of the keys."""
    slices_of: dict[Name, list[discovery.EndpointSlice]] = defaultdict(list)
    for piece in slices:
        slices_of[service_of(piece)].append(piece)
    router = Router(place)
    for service in services:
        key = (service.metadata.namespace, service.metadata.name)
        router.put(*key, service, slices_of[key])
    return {key: router.table[key] for key in sorted(router.table)}


def service_of(piece: discovery.EndpointSlice) -> Name:
    """Namespace and name of the Service a slice belongs to; the name is empty when it belongs to none."""
    return (piece.metadata.namespace, piece.metadata.labels.get(SERVICE_NAME, ""))


def _age(metadata: meta.ObjectMeta | None) -> Age:
    return (metadata.creation_timestamp.seconds, metadata.namespace, metadata.name) if metadata is not None else (0, "", "")


def _claims(route: Route) -> set[Claim]:
    claims: set[Claim] = {(ip, route.protocol, route.port) for ip in (*route.addresses, *route.host_ips)}
    return {*claims, ("", route.protocol, route.node_port)} if route.node_port else claims
