"""Rules about IP addresses that stand for an endpoint or an outside way in."""

from __future__ import annotations

import ipaddress

from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, check_format, invalid, ip_address


def validate_endpoint_ip(value: str, path: Path) -> list[Cause]:
    """A real address of another machine: not unspecified, loopback, link-local."""
    if causes := check_format(path, value, ip_address):
        return causes
    address = ipaddress.ip_address(value)
    if address.is_unspecified:
        causes.append(invalid(path, value, f"may not be unspecified ({value})"))
    if address.is_loopback:
        causes.append(invalid(path, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
    if address.is_link_local:
        causes.append(invalid(path, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"))
    if address.is_multicast and (address in ipaddress.ip_network("224.0.0.0/24") or value.lower().startswith("ff02:")):
        causes.append(invalid(path, value, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"))
    return causes
