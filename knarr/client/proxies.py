"""Which proxy leads to a URL outside the cluster, by the environment, as Go's programs have it, Kubernetes' own among them. Pure.

``HTTPS_PROXY`` and ``HTTP_PROXY`` (or in small letters) name one for each scheme. ``NO_PROXY`` lists who is reached without: names, which
mean what is below them too, ``.names`` that mean that alone, addresses, ranges (``10.0.0.0/8``), names and addresses with a port or
without; ``*`` is everybody. The loopback is always reached without.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}


def proxy_of(url: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """The proxy's URL; None where the way is direct."""
    parts = urlsplit(url)
    named = _either(environment, f"{parts.scheme}_proxy")
    host = (parts.hostname or "").rstrip(".")
    if not named or _is_here(host) or _is_spared(host, parts.port or DEFAULT_PORTS.get(parts.scheme, 0), _either(environment, "no_proxy")):
        return None
    return named if "://" in named else f"http://{named}"


def _either(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name.upper()) or environment.get(name) or ""


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _is_here(host: str) -> bool:
    address = _address(host)
    return address.is_loopback if address is not None else host == "localhost" or host.endswith(".localhost")


def _is_spared(host: str, port: int, listed: str) -> bool:
    return any(_means(entry, host, port) for part in listed.split(",") if (entry := part.strip().lower()))


def _means(entry: str, host: str, port: int) -> bool:
    """Whether one entry of NO_PROXY means a host at a port. One that nobody understands means nobody."""
    if entry == "*":
        return True
    address = _address(host)
    if "/" in entry:
        try:
            return address is not None and address in ip_network(entry, strict=False)
        except ValueError:
            return False
    name, wanted = _split(entry)
    if wanted not in ("", str(port)):
        return False
    if (spared := _address(name)) is not None or address is not None:
        return spared == address
    name = name.removeprefix("*")
    return host.lower().endswith(name) if name.startswith(".") else host.lower() == name or host.lower().endswith(f".{name}")


def _split(entry: str) -> tuple[str, str]:
    """A name or an address, and its port; empty where it has none."""
    if _address(entry) is not None:
        return entry, ""
    name, colon, port = entry.rpartition(":")
    return (name.strip("[]"), port) if colon else (entry, "")
