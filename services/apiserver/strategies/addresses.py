"""Rules about IP addresses that stand for an endpoint or an outside way in."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from functools import lru_cache

from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, invalid, ip_address


def validate_endpoint_ip(value: str, path: Path) -> list[Cause]:
    """A real address of another machine: not unspecified, loopback, link-local."""
    return [invalid(path, value, sentence) for sentence in _faults(value)]


@lru_cache(maxsize=1 << 16)
def _faults(value: str) -> tuple[str, ...]:
    """Remembered: the endpoints of a large Service are checked anew with each change of one of them."""
    if malformed := ip_address(value):
        return tuple(malformed)
    address, found = ipaddress.ip_address(value), list[str]()
    if address.is_unspecified:
        found.append(f"may not be unspecified ({value})")
    if address.is_loopback:
        found.append("may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if address.is_link_local:
        found.append("may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    if address.is_multicast and (address in ipaddress.ip_network("224.0.0.0/24") or value.lower().startswith("ff02:")):
        found.append("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
    return tuple(found)


def address_warnings(value: str, path: Path) -> Iterator[str]:
    """About an address, well formed, that others would spell otherwise."""
    if ":" in value and (shortest := str(ipaddress.ip_address(value))) != value:
        yield f'{path}: IPv6 address "{value}" should be in RFC 5952 canonical format ("{shortest}")'


def range_warnings(value: str, path: Path) -> Iterator[str]:
    """As above about a range."""
    if ":" in value and (shortest := str(ipaddress.ip_network(value, strict=False))) != value:
        yield f'{path}: IPv6 CIDR value "{value}" should be in RFC 5952 canonical format ("{shortest}")'
