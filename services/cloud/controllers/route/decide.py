"""Routes: from the nodes' ranges and the provider's routes to what must be made and removed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_network

from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.api.core.v1 import core_pb2 as core


@dataclass(frozen=True, slots=True)
class Plan:
    """Old routes go before new ones come: a provider has one for a destination."""

    remove: Sequence[cloud.Route]
    create: Sequence[tuple[core.Node, cloud.Route]]


def ranges_of(node: core.Node) -> list[str]:
    """The node's pod ranges."""
    return list(node.spec.pod_cidrs) or ([node.spec.pod_cidr] if node.spec.pod_cidr else [])


def plan(nodes: Iterable[core.Node], routes: Iterable[cloud.Route], cluster_cidr: str) -> Plan:
    """Routes to what lies outside of the cluster's range are not ours."""
    wanted = {(str(node.metadata.name), cidr): node for node in nodes for cidr in ranges_of(node) if _inside(cidr, cluster_cidr)}
    kept: set[tuple[str, str]] = set()
    remove = list[cloud.Route]()
    for route in routes:
        place = (route.node, route.destination_cidr)
        if not _inside(route.destination_cidr, cluster_cidr):
            continue
        if place in wanted and place not in kept and not route.blackhole:
            kept.add(place)
        else:
            remove.append(route)
    create = [
        (node, cloud.Route(node=name, destination_cidr=cidr))
        for (name, cidr), node in sorted(wanted.items(), key=lambda entry: entry[0])
        if (name, cidr) not in kept
    ]
    return Plan(remove, create)


def _inside(cidr: str, cluster_cidr: str) -> bool:
    try:
        inner, outer = ip_network(cidr, strict=False), ip_network(cluster_cidr)
    except ValueError:
        return False
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]
