"""Links, addresses, routes and neighbours of the node, through netlink: what is there, and changes to it.

Many at once go in few system calls – what a thousand Services need at the start – and what is asked for again at every change makes no
object for each attribute of each interface. Calls of ours alone, instead of a library for all that netlink knows: it was a tenth of a
cluster's memory at rest, and of the time of its start.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from knarr.netlink import route_messages as rt
from knarr.netlink.messages import (
    ACK,
    DONE,
    DUMP,
    ERROR,
    MAKE,
    NESTED,
    REQUEST,
    TORN,
    Message,
    NetlinkRefused,
    attribute,
    message,
    messages,
    only,
)

NETLINK_ROUTE = 0
COMMAND = REQUEST | ACK
# Of a bridge's port: what the bridge keeps of it, and in that its hairpin mode.
PORT, HAIRPIN = 12, 4
# Acknowledgements repeat what they are about; so many fit a socket's buffer.
BATCH = 100
RECEIVE_BYTES = 1 << 18
TIMEOUT_SECONDS = 10
# How often a list that changed while it was told is asked for again.
TRIES = 10

T = TypeVar("T")


class RouteSocket:
    """A socket to the network namespace in which it was made. Calls must not overlap.

    All of them raise OSError when the kernel does not answer; PermissionError for changes without NET_ADMIN.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._socket.settimeout(TIMEOUT_SECONDS)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def link(self, wanted: int | str) -> rt.Link | None:
        """The link of an index or a name."""
        body = rt.link_body(wanted) if isinstance(wanted, int) else rt.link_body(name=wanted)
        try:
            found = [rt.Link.parse(answer.body) for answer in self._ask(rt.LINK_GET, COMMAND, body)]
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        return found[-1] if found else None

    def links(self) -> list[rt.Link]:
        """All links."""
        return self._dump(rt.LINK_GET, rt.LINK.pack(0, 0, 0, 0), rt.Link.parse)

    def addresses(self, link: int = 0) -> list[rt.Address]:
        """The IPv4 addresses of a link, or of all."""
        found = self._dump(rt.ADDRESS_GET, rt.ADDRESS.pack(rt.IPV4, 0, 0, 0, 0), rt.Address.parse)
        return [address for address in found if link in (0, address.link)]

    def routes(self, protocol: int) -> list[rt.Route]:
        """The IPv4 routes with a tag."""

        def ours(body: bytes) -> rt.Route | None:
            return rt.Route.parse(body) if rt.protocol_of(body) == protocol else None

        return self._dump(rt.ROUTE_GET, rt.ROUTE.pack(rt.IPV4, 0, 0, 0, 0, 0, 0, 0, 0), ours)

    def neighbours(self, link: int) -> list[rt.Neighbour]:
        """A link's IPv4 neighbours."""
        found = self._dump(rt.NEIGHBOUR_GET, rt.NEIGHBOUR.pack(rt.IPV4, link, 0, 0, 0), rt.Neighbour.parse)
        return [neighbour for neighbour in found if neighbour.link == link]

    def forwards(self, link: int) -> list[rt.Neighbour]:
        """The entries of a link's forwarding table."""
        # With the header of a link the kernel tells one link's alone.
        found = self._dump(rt.NEIGHBOUR_GET, rt.LINK.pack(rt.BRIDGE, link, 0, 0), rt.Neighbour.parse)
        return [entry for entry in found if entry.link == link]

    def change(self, kind: int, flags: int, body: bytes) -> None:
        """Makes one change. NetlinkRefused when the kernel does not take it."""
        [code] = self._run(kind, COMMAND | flags, [body])
        if code in (errno.EPERM, errno.EACCES):
            raise PermissionError(code, "NET_ADMIN is needed to change the node's network")
        if code:
            raise NetlinkRefused(code, os.strerror(code))

    def change_routes(self, addresses: Collection[str], *, add: bool, link: int, protocol: int, priority: int = 0) -> dict[str, int]:
        """Adds or deletes a /32 route through a link for each address; returns the error numbers of those that were refused."""
        fixed = rt.ROUTE.pack(rt.IPV4, 32, 0, 0, rt.MAIN_TABLE, protocol, rt.SCOPE_LINK, rt.UNICAST, 0)
        to = attribute(rt.ROUTE_LINK, rt.NUMBER.pack(link))
        if priority:
            to += attribute(rt.ROUTE_PRIORITY, rt.NUMBER.pack(priority))
        bodies = [fixed + attribute(rt.ROUTE_DESTINATION, socket.inet_aton(address)) + to for address in addresses]
        return _by_address(addresses, self._run(rt.ROUTE_NEW if add else rt.ROUTE_DELETE, COMMAND | MAKE if add else COMMAND, bodies))

    def without_route(self, addresses: Sequence[str]) -> set[str]:
        """The addresses to which the kernel knows no way."""
        fixed = rt.ROUTE.pack(rt.IPV4, 32, 0, 0, 0, 0, 0, 0, 0)
        bodies = [fixed + attribute(rt.ROUTE_DESTINATION, socket.inet_aton(address)) for address in addresses]
        errors = self._run(rt.ROUTE_GET, COMMAND, bodies)
        return {address for address, error in zip(addresses, errors, strict=True) if error}

    def change_addresses(self, addresses: Collection[str], *, add: bool, link: int, label: str) -> dict[str, int]:
        """Adds or deletes each as a /32 address of a link; returns the error numbers of those that were refused."""
        bodies = [rt.address_body(link, address, label=label) for address in addresses]
        return _by_address(addresses, self._run(rt.ADDRESS_NEW if add else rt.ADDRESS_DELETE, COMMAND | MAKE if add else COMMAND, bodies))

    def allow_hairpin(self, bridge: int) -> None:
        """Lets a bridge send a frame back through each port it may have come from. Raises OSError; a port that is gone is no error."""
        ports = [_hairpin_body(port) for port, allowed in self.ports(bridge) if not allowed]
        for error in self._run(rt.LINK_SET, COMMAND, ports):
            if error not in (0, errno.ENODEV):
                raise OSError(error, os.strerror(error))

    def attach(self, link: int, bridge: int) -> None:
        """Makes a link a bridge's port, through which that may send back what came from it. Raises as ``change``."""
        self.change(rt.LINK_NEW, 0, rt.port_body(link, bridge))
        self.change(rt.LINK_SET, 0, _hairpin_body(link))

    def ports(self, bridge: int) -> list[tuple[int, bool]]:
        """Each port's index, and whether its hairpin mode is on."""

        def port(body: bytes) -> tuple[int, bool] | None:
            if rt.master_of(body) != bridge:
                return None
            return rt.LINK.unpack_from(body)[1], only(only(body[rt.LINK.size :], PORT), HAIRPIN) == b"\x01"

        return self._dump(rt.LINK_GET, rt.LINK.pack(rt.BRIDGE, 0, 0, 0), port)

    def _dump(self, kind: int, body: bytes, parse: Callable[[bytes], T | None]) -> list[T]:
        """All that there is, but for what ``parse`` makes None of. OSError EINTR when it does not hold still."""
        for _ in range(TRIES):
            found, torn = self._told(kind, body, parse)
            if not torn:
                return found
        raise OSError(errno.EINTR, "the node's network changes again and again while it is read")

    def _told(self, kind: int, body: bytes, parse: Callable[[bytes], T | None]) -> tuple[list[T], bool]:
        """What there is, and whether it changed meanwhile."""
        found: list[T] = []
        torn = False
        for answer in self._ask(kind, REQUEST | DUMP, body):
            torn = torn or bool(answer.flags & TORN)
            if answer.kind != DONE and (one := parse(answer.body)) is not None:
                found.append(one)
        return found, torn

    def _ask(self, kind: int, flags: int, body: bytes) -> Iterator[Message]:
        """What the kernel answers, up to DONE, which is among it, or to the word that this was all. To be read to its end."""
        self._sequence += 1
        self._socket.send(message(kind, flags, self._sequence, body))
        while True:
            for answer in messages(self._socket.recv(RECEIVE_BYTES)):
                if answer.sequence != self._sequence:
                    continue
                if answer.kind != ERROR:
                    yield answer
                elif answer.error:
                    raise OSError(answer.error, os.strerror(answer.error))
                if answer.kind in (DONE, ERROR):
                    return

    def _run(self, kind: int, flags: int, bodies: Sequence[bytes]) -> list[int]:
        """The error number of each, 0 where it was done."""
        errors: dict[int, int] = {}
        for start in range(0, len(bodies), BATCH):
            batch = bodies[start : start + BATCH]
            waiting = set(range(self._sequence + 1, self._sequence + 1 + len(batch)))
            self._sequence += len(batch)
            self._socket.send(b"".join(message(kind, flags, number, body) for number, body in zip(sorted(waiting), batch, strict=True)))
            while waiting:
                for answer in messages(self._socket.recv(RECEIVE_BYTES)):
                    if answer.kind == ERROR:
                        waiting.discard(answer.sequence)
                        errors[answer.sequence] = answer.error
        return [errors[number] for number in sorted(errors)]


def _hairpin_body(port: int) -> bytes:
    return rt.LINK.pack(rt.BRIDGE, port, 0, 0) + attribute(PORT | NESTED, attribute(HAIRPIN, b"\x01"))


def _by_address(addresses: Iterable[str], errors: Iterable[int]) -> dict[str, int]:
    return {address: error for address, error in zip(addresses, errors, strict=True) if error}


def in_words(errors: Mapping[str, int], expected: Collection[int]) -> dict[str, str]:
    """Why each address was refused, but for those with an error that was expected."""
    return {address: os.strerror(error) for address, error in errors.items() if error not in expected}
