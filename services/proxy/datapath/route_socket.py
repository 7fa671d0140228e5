"""Many routes, addresses or bridge ports in one netlink message each and few system calls: what a thousand Services need at the start,
and what is asked again at every change without an object for each attribute of each interface.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from services.proxy.datapath.netlink import ACK, DONE, DUMP, ERROR, MAKE, NESTED, REQUEST, attribute, message, messages, only

NETLINK_ROUTE = 0
ADDRESS_NEW, ADDRESS_DELETE, ROUTE_NEW, ROUTE_DELETE, ROUTE_GET = 20, 21, 24, 25, 26
LINK_GET, LINK_SET = 18, 19
COMMAND = REQUEST | ACK
IPV4, MAIN_TABLE, SCOPE_LINK, SCOPE_GLOBAL, UNICAST = 2, 254, 253, 0, 1
# struct ifinfomsg: family, index; of bridges, what a link belongs to, what the bridge keeps of it, and in that its hairpin mode.
LINK = struct.Struct("=BxxxiII")
BRIDGE, MASTER, PORT, HAIRPIN = 7, 10, 12, 4
# Acknowledgements repeat what they are about; so many fit a socket's buffer.
BATCH = 100
TIMEOUT_SECONDS = 10


class RouteSocket:
    """A socket to the network namespace in which it was made. Calls must not overlap."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._socket.settimeout(TIMEOUT_SECONDS)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def change_routes(self, addresses: Collection[str], *, add: bool, link: int, protocol: int, priority: int = 0) -> dict[str, int]:
        """Adds or deletes a /32 route through a link for each address; returns the error numbers of those that were refused."""
        fixed = struct.pack("=BBBBBBBBI", IPV4, 32, 0, 0, MAIN_TABLE, protocol, SCOPE_LINK, UNICAST, 0)
        to = attribute(4, struct.pack("=I", link)) + (attribute(6, struct.pack("=I", priority)) if priority else b"")
        bodies = [fixed + attribute(1, socket.inet_aton(address)) + to for address in addresses]
        return _by_address(addresses, self._run(ROUTE_NEW if add else ROUTE_DELETE, COMMAND | MAKE if add else COMMAND, bodies))

    def without_route(self, addresses: Sequence[str]) -> set[str]:
        """The addresses to which the kernel knows no way."""
        fixed = struct.pack("=BBBBBBBBI", IPV4, 32, 0, 0, 0, 0, 0, 0, 0)
        errors = self._run(ROUTE_GET, COMMAND, [fixed + attribute(1, socket.inet_aton(address)) for address in addresses])
        return {address for address, error in zip(addresses, errors, strict=True) if error}

    def change_addresses(self, addresses: Collection[str], *, add: bool, link: int, label: str) -> dict[str, int]:
        """Adds or deletes each as a /32 address of a link; returns the error numbers of those that were refused."""
        fixed = struct.pack("=BBBBI", IPV4, 32, 0, SCOPE_GLOBAL, link)
        name = attribute(3, label.encode() + b"\0")
        found = ((socket.inet_aton(address), fixed) for address in addresses)
        bodies = [head + attribute(1, packed) + attribute(2, packed) + name for packed, head in found]
        return _by_address(addresses, self._run(ADDRESS_NEW if add else ADDRESS_DELETE, COMMAND | MAKE if add else COMMAND, bodies))

    def allow_hairpin(self, bridge: int) -> None:
        """Lets a bridge send a frame back through each port it may have come from. Raises OSError; a port that is gone is no error."""
        mode = attribute(PORT | NESTED, attribute(HAIRPIN, b"\x01"))
        ports = [LINK.pack(BRIDGE, port, 0, 0) + mode for port, allowed in self._ports(bridge) if not allowed]
        for error in self._run(LINK_SET, COMMAND, ports):
            if error not in (0, errno.ENODEV):
                raise OSError(error, os.strerror(error))

    def _ports(self, bridge: int) -> Iterator[tuple[int, bool]]:
        """Each port's index, and whether its hairpin mode is on."""
        for body in self._dump(LINK_GET, LINK.pack(BRIDGE, 0, 0, 0)):
            attributes = body[LINK.size :]
            if only(attributes, MASTER) == struct.pack("=I", bridge):
                yield LINK.unpack_from(body)[1], only(only(attributes, PORT), HAIRPIN) == b"\x01"

    def _dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        """The bodies of all that there is; to be taken to the end."""
        self._sequence += 1
        self._socket.send(message(kind, REQUEST | DUMP, self._sequence, body))
        while True:
            for answer in messages(self._socket.recv(1 << 18)):
                if answer.sequence != self._sequence:
                    continue
                if answer.kind == ERROR:
                    raise OSError(answer.error, os.strerror(answer.error))
                if answer.kind == DONE:
                    return
                yield answer.body

    def _run(self, kind: int, flags: int, bodies: Sequence[bytes]) -> list[int]:
        """The error number of each, 0 where it was done."""
        errors: dict[int, int] = {}
        for start in range(0, len(bodies), BATCH):
            batch = bodies[start : start + BATCH]
            waiting = set(range(self._sequence + 1, self._sequence + 1 + len(batch)))
            self._sequence += len(batch)
            self._socket.send(b"".join(message(kind, flags, number, body) for number, body in zip(sorted(waiting), batch, strict=True)))
            while waiting:
                for answer in messages(self._socket.recv(1 << 18)):
                    if answer.kind == ERROR:
                        waiting.discard(answer.sequence)
                        errors[answer.sequence] = answer.error
        return [errors[number] for number in sorted(errors)]


def _by_address(addresses: Iterable[str], errors: Iterable[int]) -> dict[str, int]:
    return {address: error for address, error in zip(addresses, errors, strict=True) if error}


def in_words(errors: Mapping[str, int], expected: Collection[int]) -> dict[str, str]:
    """Why each address was refused, but for those with an error that was expected."""
    return {address: os.strerror(error) for address, error in errors.items() if error not in expected}
