"""What stands in our table for one route: chains, and the map elements that lead to them. Pure, and the same whatever was before.

    cluster-ips ──────────────► service-… or local-…           (internal policy)
    external-ips, node-ports ─► external-… ─► service-…        (external policy Cluster: with our node as the source)
                              ► local-…                        (external policy Local: the source is kept)
    inside-…  ────────────────► inside-… ─► service-…          (the same addresses of a Local Service, for pods and this node)
    firewalls ────────────────► firewall-… and back            (loadBalancerSourceRanges)

``service-…`` and ``local-…`` deal connections out: their rules depend on where their endpoints stand.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from services.proxy.datapath.nftables.operations import AddVerdict, Lead
from services.proxy.routing.table import LOCAL, Endpoint, Route

MAX_NAME = 100
REFUSE, DISCARD = "refuse", "discard"

Entry = tuple[str, tuple[str | int, ...]]


@dataclass(frozen=True, slots=True)
class Pool:
    """A chain that deals connections out to some endpoints; where there are none they go to the chain ``otherwise``."""

    chain: str
    protocol: str
    endpoints: tuple[Endpoint, ...]
    otherwise: str
    affinity_seconds: int = 0


def chain_name(kind: str, route: Route) -> str:
    """Name of one of a route's chains; the part after the digest is for people."""
    digest = hashlib.sha256("/".join((*route.key, route.protocol)).encode()).hexdigest()[:10]
    return f"{kind}-{digest}-{route.key.namespace}/{route.key.service}/{route.key.port_name}"[:MAX_NAME].rstrip("/")


def pools(route: Route) -> list[Pool]:
    """The chains of a route that deal out. Where there are endpoints, but not on this node, Kubernetes says to drop."""
    found = []
    if route.needs_all:
        found.append(Pool(chain_name("service", route), route.protocol, route.endpoints, REFUSE, route.affinity_seconds))
    if route.needs_local:
        otherwise = DISCARD if route.endpoints else REFUSE
        found.append(Pool(chain_name("local", route), route.protocol, route.local_endpoints, otherwise, route.affinity_seconds))
    return found


def chains(route: Route) -> dict[str, tuple[AddVerdict, ...]]:
    """The other chains of a route, with their rules."""
    found: dict[str, tuple[AddVerdict, ...]] = {}
    service = chain_name("service", route)
    if route.reached_from_outside:
        local = route.external_policy == LOCAL
        name, mark = ("inside", "mark-unless-pod") if local else ("external", "mark-for-masquerade")
        chain = chain_name(name, route)
        found[chain] = (AddVerdict(chain, "jump", mark), AddVerdict(chain, "goto", service))
    if route.source_ranges and route.load_balancer_ips:
        chain = chain_name("firewall", route)
        allowed = (AddVerdict(chain, "return", source=cidr) for cidr in route.source_ranges)
        found[chain] = (*allowed, AddVerdict(chain, "goto", DISCARD))
    return found


def entries(route: Route) -> dict[Entry, Lead]:
    """The map elements that lead to a route."""
    internal = Lead("goto", chain_name("local" if route.internal_policy == LOCAL else "service", route))
    found: dict[Entry, Lead] = {("cluster-ips", (ip, route.protocol, route.port)): internal for ip in route.cluster_ips}
    outer: list[Entry] = [("external-ips", (ip, route.protocol, route.port)) for ip in route.outer_ips]
    outer += [("host-ports", (ip, route.protocol, route.port)) for ip in route.host_ips]
    if route.node_port:
        outer.append(("node-ports", (route.protocol, route.node_port)))
    if route.external_policy == LOCAL:
        found |= {entry: Lead("goto", chain_name("local", route)) for entry in outer}
        found |= {(f"inside-{name}", key): Lead("goto", chain_name("inside", route)) for name, key in outer}
    else:
        found |= {entry: Lead("goto", chain_name("external", route)) for entry in outer}
    if route.source_ranges:
        firewall = Lead("jump", chain_name("firewall", route))
        found |= {("firewalls", (ip, route.protocol, route.port)): firewall for ip in route.load_balancer_ips}
    return found
