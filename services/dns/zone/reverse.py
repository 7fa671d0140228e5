"""Reverse names: which of them are the cluster's."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network

OCTET_BITS = 8
REVERSE_ROOTS = ("in-addr.arpa", "ip6.arpa")


def reverse_apexes(cidr: str) -> list[str]:
    """The zones that hold the reverse names of a range, which ends at an octet: several where the range does not."""
    network = IPv4Network(cidr)
    octets = max(1, -(-network.prefixlen // OCTET_BITS))
    zones = network.subnets(new_prefix=max(octets * OCTET_BITS, network.prefixlen))
    return [".".join(reversed(str(zone.network_address).split(".")[:octets])) + ".in-addr.arpa" for zone in zones]


def enclosing(name: str, apexes: Iterable[str]) -> str:
    """The one of ``apexes`` that a name lies in; empty when it lies in none."""
    known = apexes if isinstance(apexes, set | frozenset | dict) else set(apexes)
    while name:
        if name in known:
            return name
        name = name.partition(".")[2]
    return ""
