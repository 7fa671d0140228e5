"""Through which of a route's doors a client came, and to which endpoints that door leads it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from services.proxy.routing.table import LOCAL, Route

# The classes of addresses, by what holds for them.
INTERNAL, EXTERNAL, BALANCED = "internal", "external", "balanced"
ANY_ADDRESS = "0.0.0.0"


class Address(NamedTuple):
    """Where to listen, and the class of the address."""

    ip: str
    port: int
    kind: str


@dataclass(frozen=True, slots=True)
class Doors:
    """A route's rules for clients. ``local`` and ``everywhere`` say whether there are such endpoints."""

    internal_local: bool
    external_local: bool
    source_ranges: tuple[IPv4Network, ...]
    pods: IPv4Network

    def local_only(self, kind: str, client: str, own: str) -> bool | None:
        """Whether a client leads to this node's endpoints only; None: it is not let in.

        ``own`` is the address it came to: a client on this node has the same one. Pods and the node itself reach all endpoints through an
        external address, as with Kubernetes.
        """
        if kind == INTERNAL:
            return self.internal_local
        if not self.by_client:
            return False
        ip = IPv4Address(client)
        if kind == BALANCED and self.source_ranges and not any(ip in allowed for allowed in self.source_ranges):
            return None
        return self.external_local and client != own and ip not in self.pods and not ip.is_loopback

    @property
    def by_client(self) -> bool:
        """Whether it matters who the client is."""
        return self.external_local or bool(self.source_ranges)


def doors(route: Route, pod_cidr: str) -> Doors:
    """A route's rules."""
    return Doors(
        internal_local=route.internal_policy == LOCAL,
        external_local=route.external_policy == LOCAL,
        source_ranges=tuple(map(IPv4Network, route.source_ranges)),
        pods=IPv4Network(pod_cidr),
    )


def addresses(route: Route, *, own_addresses: bool) -> list[Address]:
    """Where a route is served; without ``own_addresses`` only at the node's own."""
    found: list[Address] = []
    if own_addresses:
        internal = route.local_endpoints if route.internal_policy == LOCAL else route.endpoints
        found += [Address(ip, route.port, INTERNAL) for ip in route.cluster_ips if internal]
        found += [Address(ip, route.port, EXTERNAL) for ip in route.external_ips if route.endpoints]
        found += [Address(ip, route.port, BALANCED) for ip in route.load_balancer_ips if route.endpoints]
    found += [Address(ip, route.port, EXTERNAL) for ip in route.host_ips if route.endpoints]
    if route.node_port and route.endpoints:
        found.append(Address(ANY_ADDRESS, route.node_port, EXTERNAL))
    return found
