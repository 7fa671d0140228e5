"""The ruleset as text, in the nft language: routes in, transactions out. Without I/O.

Two maps lead from an address to a route's chain; that one deals connections out in turn to a chain for each endpoint, which counts and
rewrites. So a change touches the chains and map elements of its own route only. A route without endpoints refuses at once.

Packets that need our node as their source are marked, as Kubernetes does: those to a ClusterIP that come from outside the pods' range,
those to a NodePort, and those of a pod that reaches itself. Connections from pod to pod keep their source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from services.proxy.routing.table import Change, Endpoint, Route

MARK = 0x4000
LOCALNET_NOTE = "route-localnet-was-off"
# Before other tables' destination NAT, so that theirs cannot take our addresses.
PRIORITY_DESTINATION = -105
# Before other tables' source NAT.
PRIORITY_SOURCE = 95
# Before connection tracking.
PRIORITY_RAW = -305


@dataclass(frozen=True, slots=True)
class Base:
    """What the ruleset of a node depends on besides its routes. ``masquerade_bridge``: replies between pods of
    the bridge would pass us by, so their connections through a Service need our address. ``localnet_was_off``: leaves a
    note in the table for whoever removes it that ``route_localnet`` is to be switched off again."""

    table: str
    service_cidr: str
    pod_cidr: str
    pod_bridge: str
    masquerade_bridge: bool = False
    localnet_was_off: bool = False


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def route_chain(route: Route) -> str:
    """Name of the chain that deals out a route's connections; the part after the digest is for people."""
    return f"service-{_digest('/'.join((*route.key, route.protocol)))}-{route.key.namespace}/{route.key.service}/{route.key.port_name}"[
        :100
    ].rstrip("/")


def endpoint_chain(route: Route, endpoint: Endpoint) -> str:
    """Name of an endpoint's chain and of its counter, within its route."""
    return f"endpoint-{_digest('/'.join((*route.key, route.protocol)))}-{endpoint.address}/{endpoint.port}"


def node_port_chain(route: Route) -> str:
    """Name of the chain in which a NodePort's packets are marked."""
    return "nodeport-" + route_chain(route).removeprefix("service-")


def full(base: Base, routes: Iterable[Route]) -> str:
    """One transaction that replaces whatever the table held by these routes, without a gap."""
    bridge = f'    iifname "{base.pod_bridge}" oifname "{base.pod_bridge}" ct status dnat masquerade\n' if base.masquerade_bridge else ""
    note = f"  counter {LOCALNET_NOTE} {{ }}\n" if base.localnet_was_off else ""
    lines = [
        f"table ip {base.table} {{}}",
        f"delete table ip {base.table}",
        f"""table ip {base.table} {{
{note}  map cluster-ips {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map node-ports {{ type inet_proto . inet_service : verdict; }}
  chain mark-for-masquerade {{ meta mark set meta mark or {MARK:#x}; }}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    reject
  }}
  chain services {{
    ip daddr {base.service_cidr} ip saddr != {base.pod_cidr} jump mark-for-masquerade
    ip daddr . meta l4proto . th dport vmap @cluster-ips
    fib daddr type local meta l4proto . th dport vmap @node-ports
  }}
  chain prerouting {{
    type nat hook prerouting priority {PRIORITY_DESTINATION}; policy accept;
    jump services
  }}
  chain output {{
    type nat hook output priority {PRIORITY_DESTINATION}; policy accept;
    jump services
  }}
  chain postrouting {{
    type nat hook postrouting priority {PRIORITY_SOURCE}; policy accept;
    meta mark and {MARK:#x} == {MARK:#x} ct status dnat meta mark set meta mark xor {MARK:#x} masquerade
{bridge}  }}
  chain loopback-guard {{
    type filter hook prerouting priority {PRIORITY_RAW}; policy accept;
    iifname != "lo" ip daddr 127.0.0.0/8 drop
    iifname != "lo" ip saddr 127.0.0.0/8 drop
  }}
}}""",
    ]
    for route in routes:
        lines += _add(base, route)
    return "\n".join(lines) + "\n"


def incremental(base: Base, change: Change) -> str:
    """One transaction whose cost follows the change: removals first, then updates, then additions."""
    lines: list[str] = []
    for route in change.removed:
        lines += _remove(base, route)
    moved = [(old, new) for old, new in change.updated if _entries(old) != _entries(new)]
    for old, new in moved:
        lines += _remove_entries(base, old, set(_entries(old)) - set(_entries(new)))
    for old, new in change.updated:
        if old.endpoints != new.endpoints or old.protocol != new.protocol:
            lines += _update(base, old, new)
    for old, new in moved:
        lines += _add_entries(base, new, set(_entries(new)) - set(_entries(old)))
    for route in change.added:
        lines += _add(base, route)
    return "\n".join(lines) + "\n" if lines else ""


def _entries(route: Route) -> list[tuple[str, str]]:
    """The map elements that lead to a route: the map's name and the key."""
    entries = [("cluster-ips", f"{ip} . {route.protocol} . {route.port}") for ip in route.cluster_ips]
    if route.node_port:
        entries.append(("node-ports", f"{route.protocol} . {route.node_port}"))
    return entries


def _target(route: Route, map_name: str) -> str:
    return node_port_chain(route) if map_name == "node-ports" else route_chain(route)


def _add_entries(base: Base, route: Route, entries: Iterable[tuple[str, str]]) -> list[str]:
    return [f"add element ip {base.table} {name} {{ {key} : goto {_target(route, name)} }}" for name, key in sorted(entries)]


def _remove_entries(base: Base, route: Route, entries: Iterable[tuple[str, str]]) -> list[str]:
    return [f"delete element ip {base.table} {name} {{ {key} : goto {_target(route, name)} }}" for name, key in sorted(entries)]


def _deal(base: Base, route: Route) -> str:
    rule = f"add rule ip {base.table} {route_chain(route)} "
    if not route.endpoints:
        return rule + "goto refuse"
    turns = ", ".join(f"{turn} : goto {endpoint_chain(route, endpoint)}" for turn, endpoint in enumerate(route.endpoints))
    return rule + f"numgen inc mod {len(route.endpoints)} vmap {{ {turns} }}"


def _add_endpoint(base: Base, route: Route, endpoint: Endpoint) -> list[str]:
    name = endpoint_chain(route, endpoint)
    return [
        f"add counter ip {base.table} {name}",
        f"add chain ip {base.table} {name}",
        f"add rule ip {base.table} {name} ip saddr {endpoint.address} jump mark-for-masquerade",
        f'add rule ip {base.table} {name} counter name "{name}" meta l4proto {route.protocol} dnat to {endpoint.address}:{endpoint.port}',
    ]


def _delete_endpoint(base: Base, route: Route, endpoint: Endpoint) -> list[str]:
    name = endpoint_chain(route, endpoint)
    return [f"flush chain ip {base.table} {name}", f"delete chain ip {base.table} {name}", f"delete counter ip {base.table} {name}"]


def _add(base: Base, route: Route) -> list[str]:
    lines = []
    for endpoint in route.endpoints:
        lines += _add_endpoint(base, route, endpoint)
    return [
        *lines,
        f"add chain ip {base.table} {route_chain(route)}",
        _deal(base, route),
        f"add chain ip {base.table} {node_port_chain(route)}",
        f"add rule ip {base.table} {node_port_chain(route)} jump mark-for-masquerade",
        f"add rule ip {base.table} {node_port_chain(route)} goto {route_chain(route)}",
        *_add_entries(base, route, _entries(route)),
    ]


def _remove(base: Base, route: Route) -> list[str]:
    lines = _remove_entries(base, route, _entries(route))
    for chain in (node_port_chain(route), route_chain(route)):
        lines += [f"flush chain ip {base.table} {chain}", f"delete chain ip {base.table} {chain}"]
    for endpoint in route.endpoints:
        lines += _delete_endpoint(base, route, endpoint)
    return lines


def _places(route: Route) -> dict[tuple[str, int], Endpoint]:
    return {(endpoint.address, endpoint.port): endpoint for endpoint in route.endpoints}


def _update(base: Base, old: Route, new: Route) -> list[str]:
    if old.protocol != new.protocol:
        return [*_remove(base, old), *_add(base, new)]
    before, after = _places(old), _places(new)
    if before.keys() == after.keys():
        return []
    lines: list[str] = []
    for place in sorted(after.keys() - before.keys()):
        lines += _add_endpoint(base, new, after[place])
    lines += [f"flush chain ip {base.table} {route_chain(new)}", _deal(base, new)]
    for place in sorted(before.keys() - after.keys()):
        lines += _delete_endpoint(base, old, before[place])
    return lines
