"""``--registry-mirror``: whether the engine speaks to the mirror as its URL says, which only the engine's own settings decide."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from services.standalone.engine_info import engine_info
from services.standalone.settings import ClusterSettings

# Where containerd reads how to speak to a registry, as its settings usually say.
CONTAINERD_HOSTS = Path("/etc/containerd/certs.d")


def mirror_problems(settings: ClusterSettings) -> Iterator[str]:
    """A sentence with the way out where the engine would not reach it."""
    parts = urlsplit(settings.registry_mirror)
    option = f"--registry-mirror {settings.registry_mirror}"
    if settings.runtime == "hollow":
        yield f"{option}: nothing is pulled where containers are simulated; leave it out, or give it as ''"
    elif parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        if settings.runtime == "containerd":
            yield from _containerd_problems(option, parts.netloc, CONTAINERD_HOSTS)
        elif (info := engine_info()) is not None and not speaks_plain(info, parts.netloc):
            yield (
                f"{option}: Docker speaks plain HTTP to registries beyond this machine only where its own settings say so, which Knarr does"
                f' not change; add "insecure-registries": ["{parts.netloc}"] to /etc/docker/daemon.json and restart it, or name an https://'
                " mirror"
            )


def _containerd_problems(option: str, place: str, hosts: Path) -> Iterator[str]:
    file = hosts / place / "hosts.toml"
    if not file.exists():
        yield (
            f"{option}: containerd speaks plain HTTP to registries beyond this machine only where its own settings say so, which Knarr does"
            f' not change; write [host."http://{place}"] into {file} (its config_path must be {hosts}), or name an https:// mirror'
        )


def is_loopback(host: str) -> bool:
    """Whether engines speak plain HTTP to a registry there without being told to."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def speaks_plain(info: dict[str, Any], place: str) -> bool:
    """Whether Docker, by what it tells of itself, speaks plain HTTP to a registry."""
    config = info.get("RegistryConfig") or {}
    known = (config.get("IndexConfigs") or {}).get(place)
    if known is not None:
        return known.get("Secure") is False
    try:
        address = ip_address(place.rpartition(":")[0] or place)
    except ValueError:
        return False
    return any(address in ip_network(network, strict=False) for network in config.get("InsecureRegistryCIDRs") or ())
