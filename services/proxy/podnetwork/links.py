"""The pod network in the kernel, through netlink: what is there of ours, and one step at a time towards what should be.

Our routes carry a protocol number of their own, so they are known again after a crash; neighbours and forwarding entries are ours
when they are on our device.
"""

from __future__ import annotations

import errno
import socket
import struct
from ipaddress import IPv4Address, IPv4Network

from knarr.netlink import route_messages as rt
from knarr.netlink.messages import ALTER, APPEND, MAKE, SUPERSEDE, NetlinkRefused, attribute, attributes
from knarr.netlink.route_socket import RouteSocket
from services.proxy import closed_ranges
from services.proxy.podnetwork.plan import Underlay
from services.proxy.podnetwork.state import Device, Forward, Neighbour, Route, State, Step
from services.proxy.settings import ProxySettings

# Tag of the pod network's routes (rtm_protocol).
ROUTE_PROTOCOL = 76
ABSENT = (errno.ESRCH, errno.ENOENT, errno.ENODEV, errno.EADDRNOTAVAIL)
# What a VXLAN device has: its number, the address it sends from, whether it learns who is where, its UDP port.
VXLAN_KIND = "vxlan"
VNI, LOCAL, LEARNING, PORT = 1, 4, 7, 15
_PORT = struct.Struct(">H")
FLAGS = {"add": MAKE, "replace": SUPERSEDE, "change": ALTER}


class PodLinks:
    """Netlink to the network namespace in which it was made. All of it, the making too, in one thread: calls wait for the kernel."""

    def __init__(self, settings: ProxySettings) -> None:
        self._ranges = settings.ranges
        self._cluster = IPv4Network(settings.pod_cidr)
        self._device = settings.vxlan_device
        self._preference = closed_ranges.preference(closed_ranges.POD_NETWORK, settings.instance)
        self._kernel = RouteSocket()

    def close(self) -> None:
        """Closes the connection; changes nothing on the node."""
        self._kernel.close()

    def block(self) -> None:
        """Makes the ranges of pods and Services unreachable where nothing more specific leads: also without a proxy no packet for them
        follows the default route.
        """
        for cidr in self._ranges:
            self._change_block(rt.ROUTE_NEW, MAKE, cidr, errno.EEXIST)

    def unblock(self) -> None:
        for cidr in self._ranges:
            self._change_block(rt.ROUTE_DELETE, 0, cidr, *ABSENT)

    def _change_block(self, kind: int, flags: int, cidr: str, *expected: int) -> None:
        body = rt.route_body(cidr, kind=rt.UNREACHABLE, protocol=ROUTE_PROTOCOL, priority=self._preference)
        try:
            self._kernel.change(kind, flags, body)
        except NetlinkRefused as error:
            if error.errno not in expected:
                raise

    def underlay(self, address: str) -> Underlay | None:
        """The interface that has an address."""
        if not address:
            return None
        for found in self._kernel.addresses():
            if found.local == address and (link := self._kernel.link(found.link)) is not None:
                return Underlay(IPv4Network((address, found.prefix_length), strict=False), link.mtu)
        return None

    def read(self) -> State:
        """Reads everything of ours that is there."""
        link = self._kernel.link(self._device)
        routes = frozenset(self._routes(link))
        if link is None:
            return State(routes=routes)
        permanent = [found for found in self._kernel.neighbours(link.ifindex) if found.state & rt.PERMANENT]
        forwards = [found for found in self._kernel.forwards(link.ifindex) if found.address]
        return State(
            self._read_device(link),
            routes,
            frozenset(Neighbour(found.address, found.mac) for found in permanent),
            frozenset(Forward(found.mac, found.address) for found in forwards),
        )

    def perform(self, step: Step) -> None:
        """Makes one change; one that is made already is success. PermissionError without NET_ADMIN, NetlinkRefused when refused."""
        try:
            if isinstance(step.what, Device):
                self._perform_device(step.verb, step.what)
            elif isinstance(step.what, Route):
                self._perform_route(step.verb, step.what)
            elif isinstance(step.what, Neighbour):
                self._perform_neighbour(step.verb, step.what)
            else:
                self._perform_forward(step.verb, step.what)
        except NetlinkRefused as error:
            if step.verb != "remove" or error.errno not in ABSENT:
                raise

    def _need_index(self) -> int:
        link = self._kernel.link(self._device)
        if link is None:
            raise NetlinkRefused(errno.ENODEV, f"the device {self._device} is gone")
        return link.ifindex

    def _read_device(self, link: rt.Link) -> Device:
        tunnel = dict(attributes(link.data)) if link.kind == VXLAN_KIND else {}
        if not tunnel or any(tunnel.get(LEARNING, b"")):
            tunnel = {}
        addresses = [found.local for found in self._kernel.addresses(link.ifindex)]
        return Device(
            self._device,
            rt.number(tunnel[VNI]) if tunnel else -1,
            _PORT.unpack(tunnel[PORT])[0] if tunnel else 0,
            rt.ip_text(tunnel.get(LOCAL)),
            link.mac,
            ",".join(sorted(addresses)),
            link.mtu,
            bool(link.flags & rt.UP),
        )

    def _routes(self, device: rt.Link | None) -> list[Route]:
        found = []
        for route in self._kernel.routes(ROUTE_PROTOCOL):
            ours = route.kind == rt.UNICAST and route.destination and IPv4Address(route.destination) in self._cluster
            if ours:
                through = self._device if device is not None and route.link == device.ifindex else ""
                found.append(Route(route.cidr, route.gateway, through))
        return found

    def _perform_device(self, verb: str, device: Device) -> None:
        if verb in ("remove", "replace"):
            self._kernel.change(rt.LINK_DELETE, 0, rt.link_body(self._need_index()))
        if verb == "remove":
            return
        if verb in ("add", "replace"):
            tunnel = (
                attribute(VNI, rt.NUMBER.pack(device.vni))
                + attribute(PORT, _PORT.pack(device.port))
                + attribute(LOCAL, socket.inet_aton(device.local))
                + attribute(LEARNING, b"\0")
            )
            body = rt.link_body(name=device.name, mac=device.mac, mtu=device.mtu, kind=VXLAN_KIND, data=tunnel)
            self._kernel.change(rt.LINK_NEW, MAKE, body)
        index = self._need_index()
        there = self._kernel.addresses(index)
        others = [found for found in there if (found.local, found.prefix_length) != (device.address, 32)]
        # The new one first: a device that has no address for a moment loses its routes and neighbours.
        if len(others) == len(there):
            self._kernel.change(rt.ADDRESS_NEW, MAKE, rt.address_body(index, device.address))
        for found in others:
            self._kernel.change(rt.ADDRESS_DELETE, 0, rt.address_body(index, found.local, found.prefix_length))
        self._kernel.change(rt.LINK_NEW, 0, rt.link_body(index, rt.UP, mtu=device.mtu))

    def _perform_route(self, verb: str, route: Route) -> None:
        through = self._need_index() if route.device and verb != "remove" else 0
        body = rt.route_body(
            route.destination,
            kind=rt.UNICAST,
            protocol=ROUTE_PROTOCOL,
            gateway=route.gateway,
            link=through,
            flags=rt.ONLINK if through else 0,
        )
        self._change(verb, rt.ROUTE_NEW, rt.ROUTE_DELETE, body)

    def _perform_neighbour(self, verb: str, neighbour: Neighbour) -> None:
        body = rt.neighbour_body(rt.IPV4, self._need_index(), neighbour.address, neighbour.mac, state=rt.PERMANENT)
        self._change(verb, rt.NEIGHBOUR_NEW, rt.NEIGHBOUR_DELETE, body)

    def _perform_forward(self, verb: str, forward: Forward) -> None:
        state = rt.NO_ARP | rt.PERMANENT
        body = rt.neighbour_body(rt.BRIDGE, self._need_index(), forward.address, forward.mac, state=state, flags=rt.SELF)
        if verb == "remove":
            self._kernel.change(rt.NEIGHBOUR_DELETE, 0, body)
        else:
            # One end may stand for several addresses.
            self._kernel.change(rt.NEIGHBOUR_NEW, APPEND, body)

    def _change(self, verb: str, new: int, delete: int, body: bytes) -> None:
        self._kernel.change(delete if verb == "remove" else new, FLAGS.get(verb, 0), body)
