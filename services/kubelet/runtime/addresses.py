"""Pod addresses of one node, handed out in turn so that a freed one rests before it is used again."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

NO_RANGE = "0.0.0.0/32"


class AddressesExhausted(Exception):
    """Every address of the range is taken."""


class PodAddresses:
    """The first address belongs to the node's bridge; network and broadcast address are never given.

    Without a range, which is the empty text, there is no address to give.
    """

    def __init__(self, cidr: str) -> None:
        self._network = ipaddress.ip_network(cidr or NO_RANGE)
        self._taken: set[int] = set()
        self._next = 2

    @property
    def gateway(self) -> str:
        """The bridge's own address."""
        return str(self._network[1])

    def claim(self, address: str) -> None:
        """Marks an address of a pod that already runs."""
        parsed = ipaddress.ip_address(address)
        if parsed in self._network:
            self._taken.add(int(parsed) - int(self._network.network_address))

    def take(self, prefer: str = "") -> str:
        """A free address, ``prefer`` when that one is free; raises AddressesExhausted."""
        wanted = int(ipaddress.ip_address(prefer)) - int(self._network.network_address) if prefer else 0
        if 2 <= wanted < self._network.num_addresses - 1 and wanted not in self._taken:
            self._taken.add(wanted)
            return prefer
        last = self._network.num_addresses - 2
        for step in range(max(last - 1, 0)):
            offset = 2 + (self._next - 2 + step) % (last - 1)
            if offset not in self._taken:
                self._taken.add(offset)
                self._next = offset + 1
                return str(self._network[offset])
        raise AddressesExhausted(f"no free address in {self._network}")

    def release(self, address: str) -> None:
        """Gives an address back; one that is free already is left so."""
        parsed = ipaddress.ip_address(address)
        if parsed in self._network:
            self._taken.discard(int(parsed) - int(self._network.network_address))

    def keep(self, addresses: Iterable[str]) -> None:
        """Gives all others back; the empty text is none."""
        self._taken.clear()
        for address in addresses:
            if address:
                self.claim(address)
