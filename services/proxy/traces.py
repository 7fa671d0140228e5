"""What proxies have in the kernel of a node, each with the name that tells whose it is; and removing what one left, by its name alone.

Addresses and ways to single Services bear none: they are those of whoever has closed the range in which they lie.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from ipaddress import IPv4Network

from knarr.netlink import route_messages as rt
from knarr.netlink.messages import NetlinkRefused
from knarr.netlink.route_socket import RouteSocket
from services.proxy import closed_ranges
from services.proxy.cleanup import remove_datapath
from services.proxy.datapath import node_network
from services.proxy.datapath.docker_user import named_rules, remove_rules
from services.proxy.datapath.nftables.datapath import remove_table
from services.proxy.datapath.nftables.libnftables import Nftables, NftablesError
from services.proxy.podnetwork import links
from services.proxy.settings import ProxySettings

# By whom a route was made, and beneath what preference those lie that close a range.
CLOSING = {node_network.ROUTE_PROTOCOL: closed_ranges.DATAPATH, links.ROUTE_PROTOCOL: closed_ranges.POD_NETWORK}


def tables() -> list[str]:
    """The names of all tables of the packet filter. OSError or NftablesError where it cannot be asked."""
    with closing(Nftables()) as nft:
        return [table["name"] for entry in nft.read("list tables") if (table := entry.get("table"))]


def docker_rules() -> list[str]:
    """By what names rules stand in the chain that Docker keeps for others."""
    return [name for name, _ in named_rules()]


def closed() -> Iterator[tuple[str, str]]:
    """Each range that a proxy has closed, and how its instance's name begins; empty where it has none. OSError where the kernel does not
    answer."""
    with closing(RouteSocket()) as kernel:
        for route in _routes(kernel):
            yield route.cidr, _instance_of(route)


def remove_traces(instance: str, spared: Iterable[str]) -> None:
    """Removes everything of an instance. ``spared`` are ranges of others, in which what bears no name is theirs.

    Safe where there is nothing; PermissionError and NetlinkRefused where something may not be removed.
    """
    settings = ProxySettings(instance=instance)
    own = {cidr for cidr, name in closed() if name and instance.startswith(name)}
    others = [IPv4Network(cidr) for cidr in spared]
    remove_datapath(settings, [cidr for cidr in own if not any(IPv4Network(cidr).overlaps(other) for other in others)])
    with contextlib.suppress(OSError, NftablesError), closing(Nftables()) as nft:
        remove_table(nft, settings.pod_table)
    remove_rules(settings.pod_table)
    with closing(RouteSocket()) as kernel:
        for route in _routes(kernel):
            if (name := _instance_of(route)) and instance.startswith(name):
                _remove(kernel, route)


def _instance_of(route: rt.Route) -> str:
    return closed_ranges.instance_of(CLOSING[route.protocol], route.priority)


def _routes(kernel: RouteSocket) -> list[rt.Route]:
    return [route for protocol in CLOSING for route in kernel.routes(protocol) if route.kind == rt.UNREACHABLE]


def _remove(kernel: RouteSocket, route: rt.Route) -> None:
    body = rt.route_body(route.cidr, kind=route.kind, protocol=route.protocol, scope=route.scope, priority=route.priority)
    with contextlib.suppress(NetlinkRefused):
        kernel.change(rt.ROUTE_DELETE, 0, body)
