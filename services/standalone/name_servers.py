"""The machine's name servers: whoever takes their addresses for a cluster is without names, and so are its images' registries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from services.standalone.hollow import with_room
from services.standalone.settings import ClusterSettings

# What programs ask by, and where systemd-resolved keeps whom it asks itself.
FILES = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
# Where another range is looked for: private addresses (RFC 1918) that defaults leave alone.
ELSEWHERE = IPv4Network("10.128.0.0/9"), IPv4Network("10.0.0.0/10"), IPv4Network("172.16.0.0/12")


def name_servers(files: Iterable[Path] = FILES) -> list[IPv4Address]:
    """Those that are not the machine itself."""
    found: list[IPv4Address] = []
    for file in files:
        with suppress(OSError):
            found += servers_in(file.read_text(errors="replace"))
    return list(dict.fromkeys(one for one in found if not one.is_loopback))


def servers_in(text: str) -> Iterator[IPv4Address]:
    """Those that a file of resolv.conf(5) names."""
    for line in text.splitlines():
        match line.split():
            case ["nameserver", address, *_]:
                with suppress(AddressValueError):
                    yield IPv4Address(address)


def name_server_problems(settings: ClusterSettings, servers: Iterable[IPv4Address], routes: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Name servers that nobody would reach any more: what is in a range of the cluster's leaves the machine by a route to less alone."""
    known, asked = [_network(route) for route in routes], list(servers)
    grown = with_room(settings)
    for option, text in (("cluster-cidr", grown.cluster_cidr), ("service-cidr", settings.service_cidr)):
        network = IPv4Network(text)
        for server in asked:
            if server not in network or any(one is not None and server in one and one.prefixlen >= network.prefixlen for one in known):
                continue
            for_nodes = f" (for {settings.nodes} nodes)" if text != settings.cluster_cidr and option == "cluster-cidr" else ""
            yield (
                f"--{option} {text}{for_nodes} has the address {server} of this machine's name server, which would not be reached any"
                f" more; {_way_out(settings, option, network, asked)}"
            )


def _network(route: Mapping[str, Any]) -> IPv4Network | None:
    """Where a route leads that is none of the cluster's own, which are marked by their kind."""
    return None if route["dst"] == "default" or not route.get("dev") else IPv4Network(route["dst"])


def _way_out(settings: ClusterSettings, option: str, network: IPv4Network, servers: Iterable[IPv4Address]) -> str:
    others = [IPv4Network(text) for text in (settings.load_balancer_pool, settings.node_cidr)]
    others.append(IPv4Network(settings.service_cidr if option == "cluster-cidr" else with_room(settings).cluster_cidr))
    asked = list(servers)
    for place in ELSEWHERE:
        for free in place.subnets(new_prefix=network.prefixlen) if network.prefixlen >= place.prefixlen else ():
            if not any(server in free for server in asked) and not any(free.overlaps(other) for other in others):
                own = f" --pod-cidr {free.network_address}/{IPv4Network(settings.pod_cidr).prefixlen}" if option == "cluster-cidr" else ""
                return f"give a new cluster --{option} {free}{own}"
    return f"choose another --{option}"
