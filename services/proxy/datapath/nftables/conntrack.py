"""UDP flows that the kernel still leads to where a Service does not lead any more: connection tracking would keep them for as long as the
client goes on sending from the same port. TCP connections end by themselves and are left alone.

Formats: linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from knarr.netlink.messages import ACK, DUMP, REQUEST, attribute, only
from services.proxy.datapath.nftables.attributes import nest
from services.proxy.datapath.nftables.netlink import NetlinkConnection
from services.proxy.routing.table import Change, Endpoint, Route

SUBSYSTEM = 1
GET, DELETE = 1, 2
UDP = socket.IPPROTO_UDP
ORIGINAL, REPLY, FILTER = 1, 2, 25
# Attributes of a tuple, of its addresses and of its protocol.
ADDRESSES, PROTOCOL = 1, 2
SOURCE, DESTINATION = 1, 2
PROTOCOL_NUMBER, SOURCE_PORT, DESTINATION_PORT = 1, 2, 3
BY_PROTOCOL_NUMBER = 1 << 3
IPV4 = 2

Place = tuple[str, int]


class Flow(NamedTuple):
    """``to`` is what the client sends to, ``answerer`` who answers: another one where the flow was translated."""

    source: Place
    to: Place
    answerer: Place


@dataclass(frozen=True, slots=True)
class Destinations:
    """Where the UDP routes that a change is about lead now: by address and port, and by NodePort."""

    addresses: dict[Place, frozenset[Place]] = field(default_factory=dict)
    node_ports: dict[int, frozenset[Place]] = field(default_factory=dict)

    def is_stale(self, flow: Flow, own: Set[str]) -> bool:
        """Whether the next datagram of a flow would lead elsewhere. ``own`` are the node's addresses."""
        allowed = self.addresses.get(flow.to)
        if allowed is None and (flow.to[0] in own or flow.answerer != flow.to):
            allowed = self.node_ports.get(flow.to[1])
        return allowed is not None and flow.answerer not in allowed

    def __bool__(self) -> bool:
        return bool(self.addresses or self.node_ports)


def destinations(change: Change) -> Destinations:
    """The destinations of routes of which flows may be stale: an endpoint went, the first one came, or an address is new."""
    found = Destinations()
    for old, new in (*((old, None) for old in change.removed), *change.updated, *((None, new) for new in change.added)):
        if (old is None or old.protocol == "udp") and new is not None and new.protocol == "udp" and _may_be_stale(old, new):
            _lead(found, new, frozenset(map(_place, (*new.endpoints, *new.local_endpoints))))
        elif old is not None and old.protocol == "udp" and (new is None or new.protocol != "udp"):
            _lead(found, old, frozenset())
    return found


def _may_be_stale(old: Route | None, new: Route) -> bool:
    if old is None or not old.endpoints or {*new.addresses, *new.host_ips, new.node_port} - {*old.addresses, *old.host_ips, old.node_port}:
        return True
    return bool({*old.endpoints, *old.local_endpoints} - {*new.endpoints, *new.local_endpoints})


def _lead(found: Destinations, route: Route, places: frozenset[Place]) -> None:
    """A removed route's address may have come to another one, which is looked at after it."""
    for ip in (*route.addresses, *route.host_ips):
        found.addresses[ip, route.port] = places
    if route.node_port:
        found.node_ports[route.node_port] = places


def _place(endpoint: Endpoint) -> Place:
    return endpoint.address, endpoint.port


class Conntrack:
    """The kernel's UDP flows, over a connection of somebody else's. Calls must not overlap."""

    def __init__(self, connection: NetlinkConnection) -> None:
        self._connection = connection

    def forget(self, stale: Destinations, own: Set[str]) -> int:
        """Removes the flows that are stale; how many. OSError when the kernel refuses."""
        found = [raw for flow, raw in self.flows() if stale.is_stale(flow, own)]
        for raw in found:
            self._delete(raw)
        return len(found)

    def flows(self) -> Iterator[tuple[Flow, bytes]]:
        """The flows, each with the tuple that names it."""
        of_udp = nest(ORIGINAL, nest(PROTOCOL, attribute(PROTOCOL_NUMBER, bytes([UDP]))))
        wanted = of_udp + nest(FILTER, _machine_number(1, BY_PROTOCOL_NUMBER), _machine_number(2, 0))
        for body in self._connection.ask(SUBSYSTEM << 8 | GET, REQUEST | DUMP, wanted):
            original, reply = only(body, ORIGINAL), only(body, REPLY)
            if only(only(original, PROTOCOL), PROTOCOL_NUMBER) == bytes([UDP]):
                (source, to), (answerer, _) = _ends(original), _ends(reply)
                yield Flow(source, to, answerer), original

    def _delete(self, original: bytes) -> None:
        with contextlib.suppress(FileNotFoundError):
            for _ in self._connection.ask(SUBSYSTEM << 8 | DELETE, REQUEST | ACK, nest(ORIGINAL, original)):
                pass


def _machine_number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def _ends(ends: bytes) -> tuple[Place, Place]:
    addresses, protocol = only(ends, ADDRESSES), only(ends, PROTOCOL)
    (source_port,) = struct.unpack(">H", only(protocol, SOURCE_PORT))
    (destination_port,) = struct.unpack(">H", only(protocol, DESTINATION_PORT))
    return (socket.inet_ntoa(only(addresses, SOURCE)), source_port), (socket.inet_ntoa(only(addresses, DESTINATION)), destination_port)
