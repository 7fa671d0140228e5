"""The ruleset of our table: routes in, transactions out. Without I/O.

Two maps lead from an address to a route's chain. That has one rule, which deals connections out in turn over the route's slots; a map leads
from each slot to a destination and counts. So a change of endpoints is a change of a few elements, and of one rule where their number
changes. A route without endpoints refuses at once.

Packets that need our node as their source are marked, as Kubernetes does: those to a ClusterIP that come from outside the pods' range
and those to a NodePort. Those of a pod that reaches itself are known by their addresses. Connections from pod to pod keep their source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from services.proxy.datapath.nftables.operations import (
    AddChain,
    AddDeal,
    AddElement,
    AddMap,
    AddVerdict,
    DeleteChain,
    DeleteElement,
    Destination,
    FlushChain,
    Operation,
    as_text,
)
from services.proxy.datapath.nftables.slots import Slots, Standing, places
from services.proxy.routing.table import Change, Route

MARK = 0x4000
LOCALNET_NOTE = "route-localnet-was-off"
# Before other tables' destination NAT, so that theirs cannot take our addresses.
PRIORITY_DESTINATION = -105
# Before other tables' source NAT.
PRIORITY_SOURCE = 95
# Before connection tracking.
PRIORITY_RAW = -305

# Connections counted so far at a slot of a map.
CountAt = Callable[[str, int], int]
Entry = tuple[str, tuple[str | int, ...]]


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


def node_port_chain(route: Route) -> str:
    """Name of the chain in which a NodePort's packets are marked."""
    return "nodeport-" + route_chain(route).removeprefix("service-")


def skeleton(base: Base) -> str:
    """Commands that replace whatever the table held by one without routes."""
    bridge = f'    iifname "{base.pod_bridge}" oifname "{base.pod_bridge}" ct status dnat masquerade\n' if base.masquerade_bridge else ""
    note = f"  counter {LOCALNET_NOTE} {{ }}\n" if base.localnet_was_off else ""
    return f"""table ip {base.table} {{}}
delete table ip {base.table}
table ip {base.table} {{
{note}  map cluster-ips {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map node-ports {{ type inet_proto . inet_service : verdict; }}
  set hairpins {{ type ipv4_addr . ipv4_addr; }}
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
    ct status dnat ip saddr . ip daddr @hairpins masquerade
{bridge}  }}
  chain loopback-guard {{
    type filter hook prerouting priority {PRIORITY_RAW}; policy accept;
    iifname != "lo" ip daddr 127.0.0.0/8 drop
    iifname != "lo" ip saddr 127.0.0.0/8 drop
  }}
}}
"""


def full(base: Base, slots: Slots, routes: Iterable[Route]) -> str:
    """One transaction that replaces whatever the table held by these routes, without a gap. ``slots`` are new ones."""
    return skeleton(base) + as_commands(base, operations(slots, Change(added=tuple(routes)), lambda name, slot: 0))


def as_commands(base: Base, wanted: Iterable[Operation]) -> str:
    return "".join(f"{as_text(base.table, operation)}\n" for operation in wanted)


def operations(slots: Slots, change: Change, count_at: CountAt) -> list[Operation]:
    """One transaction whose cost follows the change: removals first, then updates, then additions. ``slots`` become those after it."""
    found: list[Operation] = []
    for route in change.removed:
        found += _remove(slots, route)
    moved = [(old, new) for old, new in change.updated if _entries(old) != _entries(new)]
    for old, new in moved:
        found += [DeleteElement(*entry) for entry in _entries(old) if entry not in _entries(new) or old.protocol != new.protocol]
    for old, new in change.updated:
        found += _update(slots, old, new, count_at)
    for old, new in moved:
        found += [
            AddElement(*entry, _target(new, entry)) for entry in _entries(new) if entry not in _entries(old) or old.protocol != new.protocol
        ]
    for route in change.added:
        found += _add(slots, route, count_at)
        found += [AddElement(*entry, _target(route, entry)) for entry in _entries(route)]
    return found


def _entries(route: Route) -> list[Entry]:
    """The map elements that lead to a route: the map's name and the key."""
    entries: list[Entry] = [("cluster-ips", (ip, route.protocol, route.port)) for ip in route.cluster_ips]
    if route.node_port:
        entries.append(("node-ports", (route.protocol, route.node_port)))
    return entries


def _target(route: Route, entry: Entry) -> str:
    return node_port_chain(route) if entry[0] == "node-ports" else route_chain(route)


def _add(slots: Slots, route: Route, count_at: CountAt) -> list[Operation]:
    standing = slots.admit(route)
    found: list[Operation] = []
    if standing.map not in slots.maps:
        slots.maps.add(standing.map)
        found.append(AddMap(standing.map))
    found += _place(slots, standing, places(route), count_at)
    found += [AddChain(route_chain(route)), _deal(standing)]
    if route.node_port:
        found += _add_node_port(route)
    return found


def _add_node_port(route: Route) -> list[Operation]:
    chain = node_port_chain(route)
    return [AddChain(chain), AddVerdict(chain, "jump", "mark-for-masquerade"), AddVerdict(chain, "goto", route_chain(route))]


def _delete_chain(name: str) -> list[Operation]:
    return [FlushChain(name), DeleteChain(name)]


def _deal(standing: Standing) -> Operation:
    chain = route_chain(standing.route)
    if not standing.places:
        return AddVerdict(chain, "goto", "refuse")
    return AddDeal(chain, standing.route.protocol, len(standing.places), standing.offset, standing.map)


def _remove(slots: Slots, route: Route) -> list[Operation]:
    return [*(DeleteElement(*entry) for entry in _entries(route)), *_withdraw(slots, route)]


def _withdraw(slots: Slots, route: Route) -> list[Operation]:
    """Removes a route that no address leads to any more."""
    standing = slots.dismiss(route.key)
    found = _delete_chain(node_port_chain(route)) if route.node_port else []
    found += _delete_chain(route_chain(route))
    return found + _place(slots, standing, [], lambda name, slot: 0)


def _update(slots: Slots, old: Route, new: Route, count_at: CountAt) -> list[Operation]:
    if old.protocol != new.protocol:
        return [*_withdraw(slots, old), *_add(slots, new, count_at)]
    standing = slots.standings[new.key]
    turns = len(standing.places)
    standing.route = new
    found = _place(slots, standing, places(new), count_at)
    if len(standing.places) != turns:
        found += [FlushChain(route_chain(new)), _deal(standing)]
    if new.node_port and not old.node_port:
        found += _add_node_port(new)
    elif old.node_port and not new.node_port:
        found += _delete_chain(node_port_chain(old))
    return found


def _place(slots: Slots, standing: Standing, wanted: list[tuple[str, int]], count_at: CountAt) -> list[Operation]:
    """Puts the wanted destinations on a route's slots. Whoever stays keeps their slot, but for those who fill the gaps at the end."""
    before, remaining = standing.places, set(wanted)
    stay = [place if place in remaining else None for place in before[: len(wanted)]]
    kept = set(stay)
    comers = iter([place for place in wanted if place not in kept])
    after = [place if place is not None else next(comers) for place in stay]
    after += comers
    counts = {place: turn for turn, place in enumerate(before)}
    found: list[Operation] = []
    for turn in range(max(len(before), len(after))):
        had = before[turn] if turn < len(before) else None
        has = after[turn] if turn < len(after) else None
        if had == has:
            continue
        slot = standing.offset + turn
        if had is not None:
            found.append(DeleteElement(standing.map, (slot,)))
        if has is not None:
            packets = count_at(standing.map, standing.offset + counts[has]) if has in counts else 0
            found.append(AddElement(standing.map, (slot,), Destination(*has, packets)))
    standing.places = after
    return found + _hairpins(slots, before, after)


def _hairpins(slots: Slots, before: list[tuple[str, int]], after: list[tuple[str, int]]) -> list[Operation]:
    """Lets every address that a slot leads to reach itself."""
    found: list[Operation] = []
    for address, _ in after:
        slots.uses[address] += 1
        if slots.uses[address] == 1:
            found.append(AddElement("hairpins", (address, address)))
    for address, _ in before:
        slots.uses[address] -= 1
        if not slots.uses[address]:
            del slots.uses[address]
            found.append(DeleteElement("hairpins", (address, address)))
    return found
