"""The addresses of Services that are not the cluster's own: externalIPs and those of load balancers.

What has to be an address of this node is put on an interface with a label; what needs only a way for the node's own packets gets a route
through lo with a metric. Both are made from the name of our table, by which they are found again after a crash and told from another
cluster's.

One that the kernel refuses holds up no other: it is told in ``problems`` and tried again at every look.

An address that the load balancer wants held here, in a network that this node is connected to, becomes an address of that interface and is
announced there. Another node's address, or one that anyone else may own, is never taken nor led astray.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import socket
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from knarr.netlink.route_socket import in_words
from services.proxy.datapath.arp import announce
from services.proxy.datapath.node_network import DONE_ALREADY, LOOPBACK, ROUTE_PROTOCOL, NodeNetwork

log = logging.getLogger(__name__)

# Announced when it is new, and at so many of the next looks: a frame may get lost, a switch may be slow to learn.
ANNOUNCEMENTS = 3
# The longest name of an interface, and of an address's label.
LABEL_BYTES = 15
TAG_DIGITS = 5
FIRST_METRIC = 75_000


@dataclass(frozen=True, slots=True)
class Connected:
    """A network that an interface is in."""

    network: IPv4Network
    link: int
    device: str


@dataclass(slots=True)
class _Held:
    device: str
    link: int
    label: str
    announcements: int = field(default=ANNOUNCEMENTS)


class OuterAddresses:
    """Keeps them on this node as they are wanted. All of it in the thread of the ``NodeNetwork``."""

    def __init__(self, network: NodeNetwork, table: str, pod_bridge: str, *, bind: bool) -> None:
        """``bind``: each has to be an address of this node (userspace), not only to have a way to it."""
        digest = hashlib.sha256(table.encode()).hexdigest()
        self._tag = f":k{digest[:TAG_DIGITS]}"
        self._metric = FIRST_METRIC + int(digest[:4], 16)
        self._network = network
        self._pod_bridge = pod_bridge
        self._bind = bind
        self._wanted: frozenset[str] = frozenset()
        self._to_hold: frozenset[str] = frozenset()
        self._held: dict[str, _Held] = {}
        self._routed: set[str] = set()
        # Those that other machines own, as far as we know: they are not served here.
        self.elsewhere: frozenset[str] = frozenset()
        # What could not be done about an address, in words.
        self.problems: Mapping[str, str] = {}

    @property
    def held(self) -> Mapping[str, str]:
        """The addresses that are on an interface of this node by our doing, and on which."""
        return {address: held.device for address, held in self._held.items()}

    def adopt(self) -> None:
        """Takes over what a predecessor left."""
        self._held = {address: _Held(device, link, label) for address, link, device, label in self._ours()}
        self._routed = self._network.routes_with(self._metric)

    def want(self, addresses: Set[str], held: Set[str]) -> None:
        """Makes them the ones that are served here; ``held`` are those to be announced by this node, where it can."""
        self._wanted, self._to_hold = frozenset(addresses), frozenset(held)
        self._settle()

    def look_after(self) -> None:
        """Restores what was taken away, tries again what was refused and goes on announcing."""
        if self._wanted or self._held or self._routed:
            self._look()
            self._settle()

    def _look(self) -> None:
        """Forgets what somebody took away, and learns what an interface is called by now."""
        there = {address: (link, device, label) for address, link, device, label in self._ours()}
        self._held = {address: held for address, held in self._held.items() if address in there}
        for address, held in self._held.items():
            held.link, held.device, held.label = there[address]
        self._routed &= self._network.routes_with(self._metric)

    def _ours(self) -> list[tuple[str, int, str, str]]:
        return [found for found in self._network.labelled_addresses() if found[3].endswith(self._tag)]

    def remove_all(self) -> None:
        """Removes every route and address of ours, also those of a killed process."""
        self.adopt()
        self._wanted = self._to_hold = frozenset()
        self._settle()

    def _settle(self) -> None:
        problems: dict[str, str] = {}
        connected = self._connected() if self._wanted else []
        homes = {address: home for address in self._to_hold & self._wanted if (home := _home(connected, address)) is not None}
        if self._bind:
            homes |= self._on_loopback(connected, homes)
        for address in self._held.keys() - homes.keys():
            problems |= self._put_down(address)
        for address, home in sorted(homes.items()):
            if address in self._held and self._held[address].link != home.link:
                problems |= self._put_down(address)
            problems |= self._pick_up(address, home)
        problems |= self._route(self._wanted - homes.keys(), connected)
        self._tell(problems)

    def _tell(self, problems: Mapping[str, str]) -> None:
        for address, words in problems.items():
            if self.problems.get(address) != words:
                log.warning("an address of a Service could not be put in order", extra={"address": address, "error": words})
        self.problems = problems

    def _on_loopback(self, connected: list[Connected], homes: Mapping[str, Connected]) -> dict[str, Connected]:
        """The addresses for lo: those that no neighbour can have, since they lie in no network of this node. The rest is served only if the
        node has it.
        """
        own = self._network.own_addresses(self._tag)
        rest = self._wanted - homes.keys() - own
        self.elsewhere = frozenset(address for address in rest if _home(connected, address) is not None)
        lo = Connected(IPv4Network("127.0.0.0/8"), self._network.loopback, LOOPBACK)
        return dict.fromkeys(rest - self.elsewhere, lo)

    def _connected(self) -> list[Connected]:
        found = (Connected(network, link, device) for network, link, device in self._network.connected())
        return [one for one in found if one.device not in (LOOPBACK, self._pod_bridge)]

    def _pick_up(self, address: str, home: Connected) -> dict[str, str]:
        held = self._held.get(address)
        if held is None:
            new = _Held(home.device, home.link, label_of(home.device, self._tag))
            if refused := self._change_address(address, new, add=True):
                return {address: f"{address} could not be put on {home.device}: {refused}"}
            held = self._held[address] = new
            if home.device != LOOPBACK:
                log.info("holds a load-balancer address", extra={"address": address, "device": home.device})
        if held.announcements and held.device != LOOPBACK:
            try:
                announce(held.device, address)
            except OSError as error:
                return {address: f"{address} could not be announced on {held.device}: {error.strerror or error}"}
            held.announcements -= 1
        return {}

    def _put_down(self, address: str) -> dict[str, str]:
        """Takes an address from its interface; one that is refused stays known, and is tried again."""
        held = self._held[address]
        if refused := self._change_address(address, held, add=False):
            return {address: f"{address} could not be taken from {held.device}: {refused}"}
        del self._held[address]
        return {}

    def _change_address(self, address: str, held: _Held, *, add: bool) -> str:
        """Why it was refused, in words; empty when it was done. An interface that is gone took its addresses along."""
        expected = DONE_ALREADY if add else (*DONE_ALREADY, errno.ENODEV)
        errors = self._network.kernel.change_addresses([address], add=add, link=held.link, label=held.label)
        return in_words(errors, expected).get(address, "")

    def _route(self, addresses: Set[str], connected: list[Connected]) -> dict[str, str]:
        """A way for the node's own packets, where there is none: what is on their way rewrites them before they get anywhere."""
        if self._bind:
            return {}
        gone = {address for address in self._routed if address not in addresses or _home(connected, address) is not None}
        kept = self._change_routes(gone, add=False)
        self._routed -= gone - kept.keys()
        come = self._network.kernel.without_route(sorted(addresses - self._routed))
        missing = self._change_routes(come, add=True)
        self._routed |= come - missing.keys()
        return {address: f"this node's own processes do not reach {address}: {words}" for address, words in missing.items()} | {
            address: f"the route to {address} could not be removed: {words}" for address, words in kept.items()
        }

    def _change_routes(self, addresses: Iterable[str], *, add: bool) -> dict[str, str]:
        """Adds or removes routes; returns why some were refused, in words."""
        errors = self._network.kernel.change_routes(
            sorted(addresses), add=add, link=self._network.loopback, protocol=ROUTE_PROTOCOL, priority=self._metric
        )
        return in_words(errors, DONE_ALREADY)


def label_of(device: str, tag: str) -> str:
    """The label of an address of ours: the interface's name, cut to what the kernel leaves beside our tag, which is never cut."""
    return "".join(letter for letter in device if letter.isascii())[: LABEL_BYTES - len(tag)] + tag


def _home(connected: Iterable[Connected], address: str) -> Connected | None:
    """The network an address lies in, the narrowest first."""
    number = int.from_bytes(socket.inet_aton(address))
    there = [one for one in connected if number & int(one.network.netmask) == int(one.network.network_address)]
    return max(there, key=lambda one: one.network.prefixlen, default=None)
