"""The pod network in the kernel, through netlink: what is there of ours, and one step at a time towards what should be.

Our routes carry a protocol number of their own, so they are known again after a crash; neighbours and forwarding entries are ours
when they are on our device.
"""

from __future__ import annotations

import asyncio
import errno
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from pyroute2 import IPRoute, NetlinkError

from services.proxy.podnetwork.plan import Underlay
from services.proxy.podnetwork.state import Device, Forward, Neighbour, Route, State, Step
from services.proxy.settings import ProxySettings

# Tag of the pod network's routes (rtm_protocol).
ROUTE_PROTOCOL = 76
ROUTE_UNICAST = 1
ROUTE_UNREACHABLE = 7
# Beneath every other route, also beneath those by which the datapath blocks the ranges while it runs.
LOWEST_PREFERENCE = 4_000_000_001
NEXTHOP_ONLINK = 4
NEIGHBOUR_PERMANENT = 0x80
INTERFACE_UP = 1
ABSENT = (errno.ESRCH, errno.ENOENT, errno.ENODEV, errno.EADDRNOTAVAIL)


class PodLinks:
    """Netlink to the network namespace in which it was made. All of it, the making too, in one thread without a running event loop."""

    def __init__(self, settings: ProxySettings) -> None:
        self._ranges = settings.ranges
        self._cluster = IPv4Network(settings.pod_cidr)
        self._device = settings.vxlan_device
        # pyroute2 drives an event loop of its own; uvloop's has no netlink sockets.
        self._loop = asyncio.SelectorEventLoop()
        self._netlink = IPRoute(use_event_loop=self._loop)

    def close(self) -> None:
        """Closes the connection; changes nothing on the node."""
        self._netlink.close()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def block(self) -> None:
        """Makes the ranges of pods and Services unreachable where nothing more specific leads: also without a proxy no packet for them
        follows the default route.
        """
        for cidr in self._ranges:
            self._change_block("add", cidr, errno.EEXIST)

    def unblock(self) -> None:
        for cidr in self._ranges:
            self._change_block("del", cidr, *ABSENT)

    def _change_block(self, command: str, cidr: str, *expected: int) -> None:
        try:
            self._netlink.route(command, dst=cidr, type=ROUTE_UNREACHABLE, priority=LOWEST_PREFERENCE, proto=ROUTE_PROTOCOL)
        except NetlinkError as error:
            if error.code in (errno.EPERM, errno.EACCES):
                raise PermissionError(error.code, "NET_ADMIN is needed for the pod network") from error
            if error.code not in expected:
                raise

    def underlay(self, address: str) -> Underlay | None:
        """The interface that has an address."""
        if not address:
            return None
        for message in self._netlink.get_addr(family=2):
            if message.get_attr("IFA_LOCAL") == address:
                network = IPv4Network((address, message["prefixlen"]), strict=False)
                link = self._netlink.get_links(message["index"])[0]
                return Underlay(network, link.get_attr("IFLA_MTU"))
        return None

    def read(self) -> State:
        """Reads everything of ours that is there."""
        index = self._index()
        routes = frozenset(self._routes(index))
        if index is None:
            return State(routes=routes)
        permanent = [found for found in self._netlink.get_neighbours(family=2, ifindex=index) if found["state"] & NEIGHBOUR_PERMANENT]
        forwards = [found for found in self._netlink.fdb("dump", ifindex=index) if found.get_attr("NDA_DST")]
        return State(
            self._read_device(index),
            routes,
            frozenset(Neighbour(found.get_attr("NDA_DST"), found.get_attr("NDA_LLADDR")) for found in permanent),
            frozenset(Forward(found.get_attr("NDA_LLADDR"), found.get_attr("NDA_DST")) for found in forwards),
        )

    def perform(self, step: Step) -> None:
        """Makes one change; one that is made already is success. PermissionError without NET_ADMIN, NetlinkError when refused."""
        try:
            if isinstance(step.what, Device):
                self._perform_device(step.verb, step.what)
            elif isinstance(step.what, Route):
                self._perform_route(step.verb, step.what)
            elif isinstance(step.what, Neighbour):
                self._perform_neighbour(step.verb, step.what)
            else:
                self._perform_forward(step.verb, step.what)
        except NetlinkError as error:
            if error.code in (errno.EPERM, errno.EACCES):
                raise PermissionError(error.code, "NET_ADMIN is needed for the pod network") from error
            if step.verb != "remove" or error.code not in ABSENT:
                raise

    def _index(self) -> int | None:
        return next(iter(self._netlink.link_lookup(ifname=self._device)), None)

    def _need_index(self) -> int:
        index = self._index()
        if index is None:
            raise NetlinkError(errno.ENODEV, f"the device {self._device} is gone")
        return index

    def _read_device(self, index: int) -> Device:
        link: Any = self._netlink.get_links(index)[0]
        info = link.get_attr("IFLA_LINKINFO")
        data = info.get_attr("IFLA_INFO_DATA") if info is not None and info.get_attr("IFLA_INFO_KIND") == "vxlan" else None
        addresses = [message.get_attr("IFA_LOCAL") for message in self._netlink.get_addr(family=2, index=index)]
        tunnel: Any = data if data is not None and not data.get_attr("IFLA_VXLAN_LEARNING") else None
        return Device(
            self._device,
            tunnel.get_attr("IFLA_VXLAN_ID") if tunnel else -1,
            tunnel.get_attr("IFLA_VXLAN_PORT") if tunnel else 0,
            (tunnel.get_attr("IFLA_VXLAN_LOCAL") or "") if tunnel else "",
            link.get_attr("IFLA_ADDRESS") or "",
            ",".join(sorted(addresses)),
            link.get_attr("IFLA_MTU"),
            bool(link["flags"] & INTERFACE_UP),
        )

    def _routes(self, index: int | None) -> list[Route]:
        found = []
        for message in self._netlink.get_routes(family=2, proto=ROUTE_PROTOCOL):
            destination = message.get_attr("RTA_DST")
            ours = message["proto"] == ROUTE_PROTOCOL and message["type"] == ROUTE_UNICAST
            if not ours or destination is None or IPv4Address(destination) not in self._cluster:
                continue
            device = self._device if index is not None and message.get_attr("RTA_OIF") == index else ""
            found.append(Route(f"{destination}/{message['dst_len']}", message.get_attr("RTA_GATEWAY") or "", device))
        return found

    def _perform_device(self, verb: str, device: Device) -> None:
        if verb in ("remove", "replace"):
            self._netlink.link("del", index=self._need_index())
        if verb == "remove":
            return
        if verb in ("add", "replace"):
            self._netlink.link(
                "add",
                ifname=device.name,
                kind="vxlan",
                vxlan_id=device.vni,
                vxlan_port=device.port,
                vxlan_local=device.local,
                vxlan_learning=False,
                address=device.mac,
                mtu=device.mtu,
            )
        index = self._need_index()
        kept = False
        for message in self._netlink.get_addr(family=2, index=index):
            if message.get_attr("IFA_LOCAL") == device.address and message["prefixlen"] == 32:
                kept = True
            else:
                self._netlink.addr("del", index=index, address=message.get_attr("IFA_LOCAL"), prefixlen=message["prefixlen"])
        if not kept:
            self._netlink.addr("add", index=index, address=device.address, prefixlen=32)
        self._netlink.link("set", index=index, mtu=device.mtu, state="up")

    def _perform_route(self, verb: str, route: Route) -> None:
        through = {"oif": self._need_index(), "flags": NEXTHOP_ONLINK} if route.device and verb != "remove" else {}
        command = "del" if verb == "remove" else verb
        self._netlink.route(command, dst=route.destination, gateway=route.gateway, type=ROUTE_UNICAST, proto=ROUTE_PROTOCOL, **through)

    def _perform_neighbour(self, verb: str, neighbour: Neighbour) -> None:
        command, index = ("del" if verb == "remove" else verb), self._need_index()
        self._netlink.neigh(command, dst=neighbour.address, lladdr=neighbour.mac, ifindex=index, state=NEIGHBOUR_PERMANENT)

    def _perform_forward(self, verb: str, forward: Forward) -> None:
        command = "del" if verb == "remove" else "append"
        self._netlink.fdb(command, ifindex=self._need_index(), lladdr=forward.mac, dst=forward.address)
