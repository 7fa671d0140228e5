"""Cluster addresses as numbers of a CIDR. Pure."""

from __future__ import annotations

import ipaddress

from services.apiserver.allocators.numbers import NumberRange, reserved_of

ADDRESSES_RESERVED = (16, 256)


class AddressRange(NumberRange):
    """The usable addresses of a CIDR: neither its first nor its last one."""

    def __init__(self, cidr: str) -> None:
        self.network = ipaddress.ip_network(cidr)
        reserved = reserved_of(self.network.num_addresses, *ADDRESSES_RESERVED)
        super().__init__(int(self.network.network_address) + 1, int(self.network.broadcast_address) - 1, reserved)

    def __str__(self) -> str:
        return str(self.network)

    def number(self, address: str) -> int | None:
        """The number of an address of this range; None for any other text."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return None
        return int(parsed) if parsed.version == self.network.version and int(parsed) in self else None

    def address(self, number: int) -> str:
        return str(ipaddress.ip_address(number))

    @property
    def first_address(self) -> str:
        """The address of the ``kubernetes`` Service."""
        return self.address(self.first)
