"""What route netlink says of links, addresses, routes and neighbours, as plain values.

Formats: linux/rtnetlink.h, if_link.h, if_addr.h, neighbour.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import NamedTuple

from knarr.netlink.messages import NESTED, attribute, attributes, only

LINK_NEW, LINK_DELETE, LINK_GET, LINK_SET = 16, 17, 18, 19
ADDRESS_NEW, ADDRESS_DELETE, ADDRESS_GET = 20, 21, 22
ROUTE_NEW, ROUTE_DELETE, ROUTE_GET = 24, 25, 26
NEIGHBOUR_NEW, NEIGHBOUR_DELETE, NEIGHBOUR_GET = 28, 29, 30

IPV4, BRIDGE, IPV6 = 2, 7, 10
MAIN_TABLE = 254
SCOPE_GLOBAL, SCOPE_LINK = 0, 253
UNICAST, UNREACHABLE = 1, 7
# The gateway is reached through the link, whatever the routes say of it.
ONLINK = 4
UP = 1
# States of a neighbour; the flag of an entry that is the device's own, not its bridge's.
NO_ARP, PERMANENT = 0x40, 0x80
SELF = 2

# struct ifinfomsg: family, index, flags, which of them change.
LINK = struct.Struct("=BxxxiII")
# struct ifaddrmsg: family, length of the prefix, flags, scope, index.
ADDRESS = struct.Struct("=BBBBI")
# struct rtmsg: family, lengths of destination and source, type of service, table, protocol, scope, kind, flags.
ROUTE = struct.Struct("=BBBBBBBBI")
# struct ndmsg: family, index, state, flags, kind.
NEIGHBOUR = struct.Struct("=BxxxiHBB")
NUMBER = struct.Struct("=I")
# The first of struct rtnl_link_stats64: packets, bytes, errors and drops, of each first those received.
COUNTERS = struct.Struct("=8Q")

# Attributes: of a link, of what made it, of a pair, of what IPv6 keeps of a link, of an address, of a route, of a neighbour.
LINK_MAC, LINK_NAME, LINK_MTU, LINK_MASTER, LINK_INFO, LINK_COUNTERS, LINK_FAMILIES, LINK_NAMESPACE = 1, 3, 4, 10, 18, 23, 26, 28
INFO_KIND, INFO_DATA = 1, 2
VETH_PEER = 1
IPV6_ADDRESSES = 8
ADDRESS_NETWORK, ADDRESS_LOCAL, ADDRESS_LABEL = 1, 2, 3
ROUTE_DESTINATION, ROUTE_LINK, ROUTE_GATEWAY, ROUTE_PRIORITY = 1, 4, 5, 6
NEIGHBOUR_ADDRESS, NEIGHBOUR_MAC = 1, 2


class Counters(NamedTuple):
    """What has come in and gone out by a link since it was made."""

    received_packets: int = 0
    sent_packets: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    received_errors: int = 0
    sent_errors: int = 0
    received_dropped: int = 0
    sent_dropped: int = 0


class Link(NamedTuple):
    """An interface. ``kind`` is what made it ("vxlan", "bridge"), ``data`` the attributes that such a one has, ``master`` the index of what
    it belongs to; 0 when it is nothing's port."""

    ifindex: int
    flags: int
    name: str
    mac: str
    mtu: int
    kind: str
    data: bytes
    master: int = 0
    counters: Counters = Counters()

    @classmethod
    def parse(cls, body: bytes) -> Link:
        _, index, flags, _ = LINK.unpack_from(body)
        found = dict(attributes(body[LINK.size :]))
        info = dict(attributes(found.get(LINK_INFO, b"")))
        name, mac, mtu = text(found.get(LINK_NAME)), mac_text(found.get(LINK_MAC)), number(found.get(LINK_MTU))
        told = found.get(LINK_COUNTERS)
        counters = Counters(*COUNTERS.unpack_from(told)) if told else Counters()
        return cls(
            index, flags, name, mac, mtu, text(info.get(INFO_KIND)), info.get(INFO_DATA, b""), number(found.get(LINK_MASTER)), counters
        )


class Address(NamedTuple):
    """An IPv4 address of a link. ``address`` is the network's side of it, which is another than ``local`` between two ends of a line."""

    link: int
    prefix_length: int
    address: str
    local: str
    label: str

    @classmethod
    def parse(cls, body: bytes) -> Address:
        _, length, _, _, link = ADDRESS.unpack_from(body)
        found = dict(attributes(body[ADDRESS.size :]))
        network, local = ip_text(found.get(ADDRESS_NETWORK)), ip_text(found.get(ADDRESS_LOCAL))
        return cls(link, length, network, local, text(found.get(ADDRESS_LABEL)))


class Route(NamedTuple):
    """An IPv4 route; ``destination`` is empty for the default one. Numbers are 0 and words empty where it has none."""

    destination: str
    prefix_length: int
    kind: int
    protocol: int
    scope: int
    gateway: str = ""
    link: int = 0
    priority: int = 0

    @classmethod
    def parse(cls, body: bytes) -> Route:
        _, length, _, _, _, protocol, scope, kind, _ = ROUTE.unpack_from(body)
        found = dict(attributes(body[ROUTE.size :]))
        destination, gateway = ip_text(found.get(ROUTE_DESTINATION)), ip_text(found.get(ROUTE_GATEWAY))
        link, priority = number(found.get(ROUTE_LINK)), number(found.get(ROUTE_PRIORITY))
        return cls(destination, length, kind, protocol, scope, gateway, link, priority)

    @property
    def cidr(self) -> str:
        return f"{self.destination}/{self.prefix_length}"


class Neighbour(NamedTuple):
    """Whom a link reaches: by ARP, or as an entry of its forwarding table."""

    link: int
    state: int
    address: str
    mac: str

    @classmethod
    def parse(cls, body: bytes) -> Neighbour:
        _, link, state, _, _ = NEIGHBOUR.unpack_from(body)
        found = dict(attributes(body[NEIGHBOUR.size :]))
        return cls(link, state, ip_text(found.get(NEIGHBOUR_ADDRESS)), mac_text(found.get(NEIGHBOUR_MAC)))


def link_body(index: int = 0, flags: int = 0, *, name: str = "", mac: str = "", mtu: int = 0, kind: str = "", data: bytes = b"") -> bytes:
    """A link to be made or changed, or asked for: by its index, or where that is 0 by its name. ``flags`` are to be set."""
    info = attribute(INFO_KIND, _terminated(kind)) + attribute(INFO_DATA | NESTED, data) if kind else b""
    values = {
        LINK_NAME: _terminated(name) if name else b"",
        LINK_MAC: bytes.fromhex(mac.replace(":", "")),
        LINK_MTU: NUMBER.pack(mtu) if mtu else b"",
        LINK_INFO | NESTED: info,
    }
    return LINK.pack(0, index, flags, flags) + _given(values)


def pair_body(name: str, peer: bytes, *, mtu: int = 0) -> bytes:
    """Two ends of a line (veth(4)) to be made, of which ``peer`` is the body of the other one."""
    return link_body(name=name, mtu=mtu, kind="veth", data=attribute(VETH_PEER, peer))


def peer_body(namespace: int, *, name: str, mac: str, mtu: int = 0) -> bytes:
    """The end of a pair that is made in the network namespace of an open file."""
    return link_body(name=name, mac=mac, mtu=mtu) + attribute(LINK_NAMESPACE, NUMBER.pack(namespace))


def port_body(index: int, master: int) -> bytes:
    """A link that becomes a bridge's port."""
    return link_body(index) + attribute(LINK_MASTER, NUMBER.pack(master))


def without_ipv6_body(index: int) -> bytes:
    """A link that gets no address of IPv6 by itself."""
    none = attribute(IPV6 | NESTED, attribute(IPV6_ADDRESSES, b"\x01"))
    return link_body(index) + attribute(LINK_FAMILIES | NESTED, none)


def address_body(link: int, address: str, prefix_length: int = 32, label: str = "") -> bytes:
    packed = socket.inet_aton(address)
    values = {ADDRESS_NETWORK: packed, ADDRESS_LOCAL: packed, ADDRESS_LABEL: _terminated(label) if label else b""}
    return ADDRESS.pack(IPV4, prefix_length, 0, SCOPE_GLOBAL, link) + _given(values)


def route_body(
    destination: str,
    *,
    kind: int,
    protocol: int,
    scope: int = SCOPE_GLOBAL,
    gateway: str = "",
    link: int = 0,
    priority: int = 0,
    flags: int = 0,
) -> bytes:
    """A route of the main table. ``destination`` is an address or a range."""
    network = IPv4Network(destination)
    values = {
        ROUTE_DESTINATION: network.network_address.packed,
        ROUTE_GATEWAY: socket.inet_aton(gateway) if gateway else b"",
        ROUTE_LINK: NUMBER.pack(link) if link else b"",
        ROUTE_PRIORITY: NUMBER.pack(priority) if priority else b"",
    }
    return ROUTE.pack(IPV4, network.prefixlen, 0, 0, MAIN_TABLE, protocol, scope, kind, flags) + _given(values)


def neighbour_body(family: int, link: int, address: str, mac: str, *, state: int, flags: int = 0) -> bytes:
    """An entry of a link's neighbours, or, in the family BRIDGE, of what it forwards."""
    values = {NEIGHBOUR_ADDRESS: socket.inet_aton(address), NEIGHBOUR_MAC: bytes.fromhex(mac.replace(":", ""))}
    return NEIGHBOUR.pack(family, link, state, flags, 0) + _given(values)


def protocol_of(body: bytes) -> int:
    """Who made a route: found without a look at its attributes."""
    return body[5]


def master_of(body: bytes) -> int:
    """The index of what a link belongs to; 0 when it is nothing's port."""
    return number(only(body[LINK.size :], LINK_MASTER))


def number(value: bytes | None) -> int:
    return int(NUMBER.unpack(value)[0]) if value else 0


def text(value: bytes | None) -> str:
    return value.rstrip(b"\0").decode() if value else ""


def ip_text(value: bytes | None) -> str:
    return socket.inet_ntoa(value) if value and len(value) == 4 else ""


def mac_text(value: bytes | None) -> str:
    return value.hex(":") if value else ""


def _given(values: Mapping[int, bytes]) -> bytes:
    return b"".join(attribute(kind, value) for kind, value in values.items() if value)


def _terminated(word: str) -> bytes:
    return word.encode() + b"\0"
