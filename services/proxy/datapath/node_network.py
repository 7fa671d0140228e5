"""The node's addresses and routes as the datapaths need them, through netlink.

Nothing meant for the cluster may wander off along the default route: the whole service and pod ranges are unreachable by a route of the
lowest preference, which more specific ones (a pod bridge, a ClusterIP) override. The routes are tagged with our protocol number, so that
they are found again after a crash; with the ranges they tell our own from those of another cluster on the same machine.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from knarr.netlink import route_messages as rt
from knarr.netlink.messages import MAKE, NetlinkRefused
from knarr.netlink.route_socket import RouteSocket, in_words
from services.proxy import closed_ranges

# Tag of our routes (rtm_protocol); none that a routing daemon has been given.
ROUTE_PROTOCOL = 75
# Tag of our addresses on lo (their label).
ADDRESS_LABEL = "lo:knarr"
LOOPBACK = "lo"
DONE_ALREADY = (errno.EEXIST, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENOENT)


class NodeNetwork:
    """Netlink to the network namespace in which it was made, for the service and pod ranges of one cluster.

    All of it, the making too, in one thread: calls wait for the kernel.
    """

    def __init__(self, ranges: Iterable[str], instance: str = "") -> None:
        """``instance`` is whose routes the ranges are closed by."""
        self._preference = closed_ranges.preference(closed_ranges.DATAPATH, instance)
        self._ranges = [IPv4Network(cidr) for cidr in ranges]
        self.kernel = RouteSocket()
        loopback = self.kernel.link(LOOPBACK)
        if loopback is None:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), LOOPBACK)
        self.loopback = loopback.ifindex

    def close(self) -> None:
        """Closes the connection; changes nothing on the node."""
        self.kernel.close()

    def block(self) -> None:
        """Makes the ranges unreachable where nothing more specific leads. PermissionError without NET_ADMIN."""
        for cidr in self._ranges:
            body = rt.route_body(str(cidr), kind=rt.UNREACHABLE, protocol=ROUTE_PROTOCOL, priority=self._preference)
            self._try(rt.ROUTE_NEW, MAKE, body)

    def add_local_routes(self, addresses: Iterable[str]) -> dict[str, str]:
        """Lets this node's own processes send to ClusterIPs; the datapath rewrites it before it goes anywhere.

        Returns why the kernel refused some of them, in words; the others are there. So do the three that follow.
        """
        return self._change_local_routes(addresses, add=True)

    def remove_local_routes(self, addresses: Iterable[str]) -> dict[str, str]:
        """Takes back what ``add_local_routes`` has made."""
        return self._change_local_routes(addresses, add=False)

    def add_addresses(self, addresses: Iterable[str]) -> dict[str, str]:
        """Makes ClusterIPs addresses of this node."""
        return self._change_addresses(addresses, add=True)

    def remove_addresses(self, addresses: Iterable[str]) -> dict[str, str]:
        """Takes back what ``add_addresses`` has made."""
        return self._change_addresses(addresses, add=False)

    def _change_local_routes(self, addresses: Iterable[str], *, add: bool) -> dict[str, str]:
        errors = self.kernel.change_routes(sorted(addresses), add=add, link=self.loopback, protocol=ROUTE_PROTOCOL)
        return in_words(errors, DONE_ALREADY)

    def _change_addresses(self, addresses: Iterable[str], *, add: bool) -> dict[str, str]:
        errors = self.kernel.change_addresses(sorted(addresses), add=add, link=self.loopback, label=ADDRESS_LABEL)
        return in_words(errors, DONE_ALREADY)

    def addresses(self) -> set[str]:
        """The ClusterIPs that are addresses of this node."""
        found = self.kernel.addresses(self.loopback)
        return {one.address for one in found if one.label == ADDRESS_LABEL and self._within(one.address)}

    def routes(self) -> list[rt.Route]:
        """Our routes."""
        return [route for route in self.kernel.routes(ROUTE_PROTOCOL) if self._within(route.destination)]

    def local_routes(self) -> set[str]:
        """The ClusterIPs with a route of ours."""
        return {route.destination for route in self.routes() if route.kind == rt.UNICAST and not route.priority}

    def routes_with(self, metric: int) -> set[str]:
        """The destinations of our routes of this metric, in whatever range."""
        return {route.destination for route in self.kernel.routes(ROUTE_PROTOCOL) if route.priority == metric}

    def connected(self) -> list[tuple[IPv4Network, int, str]]:
        """(network, interface's index, its name) of each network that this node is in."""
        found = [one for one in self.kernel.addresses() if one.prefix_length < 31]
        return [(IPv4Network((one.address, one.prefix_length), strict=False), one.link, self._name(one.link)) for one in found]

    def labelled_addresses(self) -> list[tuple[str, int, str, str]]:
        """(address, interface's index, its name, label) of each address."""
        return [(one.local, one.link, self._name(one.link), one.label) for one in self.kernel.addresses()]

    def own_addresses(self, tag: str) -> set[str]:
        """The node's addresses, but for those with labels that end so."""
        return {one.local for one in self.kernel.addresses() if not one.label.endswith(tag)}

    def _name(self, link: int) -> str:
        try:
            return socket.if_indextoname(link)
        except OSError:
            return ""

    def remove_all(self) -> None:
        """Removes every route and address of ours, also those of a killed process."""
        self.remove_addresses(self.addresses())
        self.remove_local_routes(self.local_routes())
        for route in self.routes():
            body = rt.route_body(
                route.cidr, kind=route.kind, protocol=ROUTE_PROTOCOL, scope=route.scope, link=route.link, priority=route.priority
            )
            self._try(rt.ROUTE_DELETE, 0, body)

    def _within(self, address: str) -> bool:
        return bool(address) and any(IPv4Address(address) in found for found in self._ranges)

    def allow_hairpin(self, bridge: str) -> None:
        """Lets a bridge send a frame back through the port it came from: how a pod reaches itself through a Service."""
        try:
            index = socket.if_nametoindex(bridge)
        except OSError:
            return  # no pod has come yet
        self.kernel.allow_hairpin(index)

    def _try(self, kind: int, flags: int, body: bytes) -> None:
        """Makes a change; one that is made already is no error."""
        try:
            self.kernel.change(kind, flags, body)
        except NetlinkRefused as error:
            if error.errno not in DONE_ALREADY:
                raise


def read_sysctl(name: str) -> str | None:
    """A kernel setting of this network namespace by its dotted name; None when there is none."""
    try:
        return Path("/proc/sys", *name.split(".")).read_text().strip()
    except OSError:
        return None


def write_sysctl(name: str, value: str) -> bool:
    """Changes a kernel setting; False when it may not be."""
    with contextlib.suppress(OSError):
        Path("/proc/sys", *name.split(".")).write_text(value)
        return True
    return False
