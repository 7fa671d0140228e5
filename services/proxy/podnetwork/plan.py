"""Nodes and this node's place in the network → the wanted state. Without I/O.

A node on our own network is reached by a plain route through its address. Any other node is reached through a VXLAN: its range by a route
through the range's first address on the VXLAN device, that address by a fixed neighbour entry, and the neighbour's machine by a forwarding
entry. Nothing is learned or asked for on the wire. The hardware address of each end follows from its node's address, so nodes need
not tell one another.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network

from knarr.api.core.v1 import core_pb2 as core
from services.proxy.podnetwork.state import Device, Forward, Neighbour, Route, State
from services.proxy.settings import ProxySettings

OFF, AUTO, ROUTES, VXLAN = "off", "auto", "routes", "vxlan"
MODES = (OFF, AUTO, ROUTES, VXLAN)
# Outer Ethernet, IPv4, UDP and VXLAN headers, bytes.
VXLAN_OVERHEAD = 50
# First two bytes of our hardware addresses: locally administered.
MAC_PREFIX = "02:6b"


@dataclass(frozen=True, slots=True)
class Member:
    """A node as the others see it. ``pod_cidr`` and ``address`` (its InternalIP) are empty until known."""

    name: str
    pod_cidr: str
    address: str


@dataclass(frozen=True, slots=True)
class Underlay:
    """The interface that has this node's InternalIP: the network it is on and its MTU in bytes."""

    network: IPv4Network
    mtu: int


@dataclass(frozen=True, slots=True)
class Peer:
    """Another node: the way to its pods (``routes`` or ``vxlan``), or why there is none. ``hop`` is whom a route leads through."""

    node: str
    pod_cidr: str
    address: str
    way: str = ""
    problem: str = ""
    hop: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to put in force. With a ``problem`` of this node itself there is no way to anyone."""

    own: Member
    state: State = field(default_factory=State)
    peers: tuple[Peer, ...] = ()
    problem: str = ""


def member(node: core.Node) -> Member:
    ranges = [text for text in (node.spec.pod_cidr, *node.spec.pod_cidrs) if text and ":" not in text]
    addresses = [found.address for found in node.status.addresses if found.type == "InternalIP" and ":" not in found.address]
    return Member(node.metadata.name, next(iter(ranges), ""), next(iter(addresses), ""))


def members(nodes: Iterable[core.Node]) -> list[Member]:
    """All nodes, the oldest first: where two claim one range, it has it."""
    return [member(node) for node in sorted(nodes, key=lambda node: (node.metadata.creation_timestamp.seconds, node.metadata.name))]


def make_plan(settings: ProxySettings, found: Iterable[Member], underlay: Underlay | None) -> Plan:
    """The wanted state of the node called ``settings.node_name``; ``underlay`` is None when no interface has its address."""
    everybody = list(found)
    own = next((one for one in everybody if one.name == settings.node_name), Member(settings.node_name, "", ""))
    problem = _own_problem(own, underlay, settings)
    if problem or underlay is None:
        return Plan(own, problem=problem)
    peers = [_peer(settings, underlay, one, rival) for one, rival in _with_rivals(own, everybody)]
    return Plan(own, _state(settings, own, underlay, peers), tuple(peers))


def without(plan: Plan, problems: Mapping[str, str]) -> Plan:
    """The plan with what the kernel refused, by range."""
    peers = tuple(replace(peer, problem=problems[peer.pod_cidr]) if peer.pod_cidr in problems else peer for peer in plan.peers)
    return replace(plan, peers=peers)


def mac_of(address: str) -> str:
    """The hardware address of a node's end of the VXLAN."""
    return ":".join([MAC_PREFIX, *(f"{byte:02x}" for byte in IPv4Address(address).packed)])


def first_address(cidr: str) -> str:
    """The address of a node's end of the VXLAN: the first of its range, which no pod gets."""
    return str(IPv4Network(cidr)[0])


def _own_problem(own: Member, underlay: Underlay | None, settings: ProxySettings) -> str:
    if not own.address:
        return f"the node {own.name} has not registered with an InternalIP yet"
    if not own.pod_cidr:
        return f"the node {own.name} has no podCIDR yet"
    if problem := _range_problem(own.pod_cidr, settings.pod_cidr):
        return problem
    if underlay is None:
        return f"no interface of this node has its InternalIP {own.address}"
    return ""


def _range_problem(cidr: str, cluster: str) -> str:
    try:
        network = IPv4Network(cidr)
    except ValueError as error:
        return f"{cidr} is not a range of addresses: {error}"
    return "" if network.subnet_of(IPv4Network(cluster)) else f"the range {cidr} lies outside the cluster's range {cluster}"


def _with_rivals(own: Member, everybody: Iterable[Member]) -> Iterable[tuple[Member, str]]:
    """Each other node, with the name of the node that has (a part of) its range already; empty when nobody has."""
    held = _Held()
    held.claim(own)
    for one in everybody:
        if one.name != own.name:
            yield one, held.claim(one)


class _Held:
    """Ranges that do not overlap, and whose they are."""

    def __init__(self) -> None:
        self._found: list[tuple[int, int, str]] = []

    def claim(self, one: Member) -> str:
        """Takes a range for a node, or answers who has a part of it."""
        try:
            network = IPv4Network(one.pod_cidr)
        except ValueError:
            return ""
        first, last = int(network[0]), int(network[-1])
        place = bisect_left(self._found, (first, last, ""))
        for other_first, other_last, other in self._found[max(place - 1, 0) : place + 1]:
            if other_first <= last and first <= other_last:
                return other
        self._found.insert(place, (first, last, one.name))
        return ""


def _peer(settings: ProxySettings, underlay: Underlay, one: Member, rival: str) -> Peer:
    peer = Peer(one.name, one.pod_cidr, one.address)
    if not one.pod_cidr:
        return replace(peer, problem="it has no podCIDR yet")
    if not one.address:
        return replace(peer, problem="it has no InternalIP yet")
    if problem := _range_problem(one.pod_cidr, settings.pod_cidr):
        return replace(peer, problem=problem)
    if rival:
        return replace(peer, problem=f"its range {one.pod_cidr} overlaps that of the node {rival}")
    hop = _next_hop(settings, underlay, one.address)
    if settings.pod_network == ROUTES and not hop:
        return replace(
            peer, problem=f"its address {one.address} is not on this node's network {underlay.network}; plain routes do not lead there"
        )
    return replace(peer, way=VXLAN) if settings.pod_network == VXLAN or not hop else replace(peer, way=ROUTES, hop=hop)


def _next_hop(settings: ProxySettings, underlay: Underlay, address: str) -> str:
    """Whom a route to a node leads through; empty where none does."""
    known = (str(underlay.network), ""), *settings.next_hops
    return next((hop or address for network, hop in known if IPv4Address(address) in IPv4Network(network)), "")


def _state(settings: ProxySettings, own: Member, underlay: Underlay, peers: Iterable[Peer]) -> State:
    routes, neighbours, forwards = set[Route](), set[Neighbour](), set[Forward]()
    for peer in peers:
        if peer.way == ROUTES:
            routes.add(Route(peer.pod_cidr, peer.hop))
        elif peer.way == VXLAN:
            gateway, mac = first_address(peer.pod_cidr), mac_of(peer.address)
            routes.add(Route(peer.pod_cidr, gateway, settings.vxlan_device))
            neighbours.add(Neighbour(gateway, mac))
            forwards.add(Forward(mac, peer.address))
    device = None
    if settings.pod_network != ROUTES and (neighbours or settings.pod_network == VXLAN):
        device = Device(
            settings.vxlan_device,
            settings.vxlan_id,
            settings.vxlan_port,
            own.address,
            mac_of(own.address),
            first_address(own.pod_cidr),
            underlay.mtu - VXLAN_OVERHEAD,
        )
    return State(device, frozenset(routes), frozenset(neighbours), frozenset(forwards))
