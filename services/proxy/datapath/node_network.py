"""The node's addresses and routes as the datapaths need them, through netlink.

Nothing meant for the cluster may wander off along the default route: the whole service and pod ranges are unreachable by a route of the
lowest preference, which more specific ones (a pod bridge, a ClusterIP) override. The routes are tagged with our protocol number, so that
they are found again after a crash; with the ranges they tell our own from those of another cluster on the same machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute, NetlinkError

from services.proxy.datapath.route_socket import RouteSocket, in_words

__all__ = ["NetlinkError", "NodeNetwork", "read_sysctl", "write_sysctl"]

# Tag of our routes (rtm_protocol); none that a routing daemon has been given.
ROUTE_PROTOCOL = 75
# Tag of our addresses on lo (their label).
ADDRESS_LABEL = "lo:knarr"
LOWEST_PREFERENCE = 4_000_000_000
ROUTE_UNREACHABLE = 7
ROUTE_UNICAST = 1
DONE_ALREADY = (errno.EEXIST, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENOENT)


class NodeNetwork:
    """Netlink to the network namespace in which it was made, for the service and pod ranges of one cluster.

    All of it, the making too, in one thread without a running event loop.
    """

    def __init__(self, ranges: Iterable[str]) -> None:
        self._ranges = [IPv4Network(cidr) for cidr in ranges]
        # pyroute2 drives an event loop of its own; uvloop's has no netlink sockets.
        self._loop = asyncio.SelectorEventLoop()
        self._netlink = IPRoute(use_event_loop=self._loop)
        self.batches = RouteSocket()
        self.loopback: int = self._netlink.link_lookup(ifname="lo")[0]

    def close(self) -> None:
        """Closes the connection; changes nothing on the node."""
        self.batches.close()
        self._netlink.close()
        # The transport's own closing is a callback of the loop's next turn.
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def block(self) -> None:
        """Makes the ranges unreachable where nothing more specific leads. PermissionError without NET_ADMIN."""
        for cidr in self._ranges:
            self._try("add", "route", dst=str(cidr), type=ROUTE_UNREACHABLE, priority=LOWEST_PREFERENCE, proto=ROUTE_PROTOCOL)

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
        errors = self.batches.change_routes(sorted(addresses), add=add, link=self.loopback, protocol=ROUTE_PROTOCOL)
        return in_words(errors, DONE_ALREADY)

    def _change_addresses(self, addresses: Iterable[str], *, add: bool) -> dict[str, str]:
        errors = self.batches.change_addresses(sorted(addresses), add=add, link=self.loopback, label=ADDRESS_LABEL)
        return in_words(errors, DONE_ALREADY)

    def addresses(self) -> set[str]:
        """The ClusterIPs that are addresses of this node."""
        return {
            message.get_attr("IFA_ADDRESS")
            for message in self._netlink.get_addr(index=self.loopback)
            if message.get_attr("IFA_LABEL") == ADDRESS_LABEL and self._within(message.get_attr("IFA_ADDRESS"))
        }

    def routes(self) -> list[Any]:
        """Our routes, as netlink messages."""
        tagged = (message for message in self._netlink.get_routes(family=2) if message["proto"] == ROUTE_PROTOCOL)
        return [message for message in tagged if self._within(message.get_attr("RTA_DST"))]

    def local_routes(self) -> set[str]:
        """The ClusterIPs with a route of ours."""
        found = (message for message in self.routes() if message["type"] == ROUTE_UNICAST and not message.get_attr("RTA_PRIORITY"))
        return {message.get_attr("RTA_DST") for message in found}

    def routes_with(self, metric: int) -> set[str]:
        """The destinations of our routes of this metric, in whatever range."""
        found = self._netlink.get_routes(family=2, proto=ROUTE_PROTOCOL, priority=metric)
        return {message.get_attr("RTA_DST") for message in found}

    def connected(self) -> list[tuple[IPv4Network, int, str]]:
        """(network, interface's index, its name) of each network that this node is in."""
        found = []
        for message in self._netlink.get_addr(family=2):
            if message["prefixlen"] < 31:
                network = IPv4Network(f"{message.get_attr('IFA_ADDRESS')}/{message['prefixlen']}", strict=False)
                found.append((network, int(message["index"]), self._name(message["index"])))
        return found

    def labelled_addresses(self) -> list[tuple[str, int, str, str]]:
        """(address, interface's index, its name, label) of each address."""
        return [
            (message.get_attr("IFA_LOCAL"), int(message["index"]), self._name(message["index"]), message.get_attr("IFA_LABEL") or "")
            for message in self._netlink.get_addr(family=2)
        ]

    def own_addresses(self, tag: str) -> set[str]:
        """The node's addresses, but for those with labels that end so."""
        return {address for address, _, _, label in self.labelled_addresses() if not label.endswith(tag)}

    def _name(self, link: int) -> str:
        try:
            return socket.if_indextoname(link)
        except OSError:
            return ""

    def remove_all(self) -> None:
        """Removes every route and address of ours, also those of a killed process."""
        self.remove_addresses(self.addresses())
        self.remove_local_routes(self.local_routes())
        for message in self.routes():
            fields: dict[str, Any] = {
                "dst": f"{message.get_attr('RTA_DST')}/{message['dst_len']}",
                "type": message["type"],
                "proto": ROUTE_PROTOCOL,
            }
            if message.get_attr("RTA_OIF"):
                fields["oif"] = message.get_attr("RTA_OIF")
            if message.get_attr("RTA_PRIORITY"):
                fields["priority"] = message.get_attr("RTA_PRIORITY")
            self._try("del", "route", scope=message["scope"], **fields)

    def _within(self, address: str | None) -> bool:
        return address is not None and any(IPv4Address(address) in found for found in self._ranges)

    def allow_hairpin(self, bridge: str) -> None:
        """Lets a bridge send a frame back through the port it came from: how a pod reaches itself through a Service."""
        try:
            index = socket.if_nametoindex(bridge)
        except OSError:
            return  # no pod has come yet
        self.batches.allow_hairpin(index)

    def _try(self, command: str, subject: str, **fields: Any) -> None:
        """Makes a change; one that is made already is no error."""
        try:
            getattr(self._netlink, subject)(command, **fields)
        except NetlinkError as error:
            if error.code in (errno.EPERM, errno.EACCES):
                raise PermissionError(error.code, "NET_ADMIN is needed to change addresses and routes") from error
            if error.code not in DONE_ALREADY:
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
