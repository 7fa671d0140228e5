"""The simulated nodes of a cluster on one machine: how many, and where their pods' addresses are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from knarr.objects.hollow import node_name
from services.kubelet.settings import KubeletSettings
from services.standalone.settings import ClusterSettings, path_of

if TYPE_CHECKING:
    from services.kubelet.hollow_nodes import HollowNodesSettings


def with_room(settings: ClusterSettings) -> ClusterSettings:
    """The settings with a range of pod addresses that has one for each node: the chosen one, or the least around it."""
    cluster, prefix = IPv4Network(settings.cluster_cidr), IPv4Network(settings.pod_cidr).prefixlen
    while settings.nodes > 1 << max(prefix - cluster.prefixlen, 0) and cluster.prefixlen:
        cluster = cluster.supernet()
    return replace(settings, cluster_cidr=str(cluster))


def node_numbers(settings: ClusterSettings) -> range:
    """The numbers of the simulated nodes: the cluster's own is the first of all."""
    return range(1, settings.nodes)


def node_names(settings: ClusterSettings) -> list[str]:
    return [node_name(number) for number in node_numbers(settings)]


def pod_ranges(settings: ClusterSettings) -> Callable[[int], str]:
    """By a node's number, from 1 on, the range of its pods: each part of the cluster's but that of its own node, in their order."""
    whole, own = IPv4Network(settings.cluster_cidr), IPv4Network(settings.pod_cidr)
    size = own.num_addresses
    own_number = (int(own.network_address) - int(whole.network_address)) // size

    def of(number: int) -> str:
        place = number - 1 if number - 1 < own_number else number
        return f"{whole.network_address + place * size}/{own.prefixlen}"

    return of


def hollow_nodes(settings: ClusterSettings, kubelet: KubeletSettings) -> HollowNodesSettings:
    """``kubelet`` is what the cluster's own node is told, which the others share, but for what is its own. They have its address."""
    from services.kubelet.hollow_faults import HollowFaults, read_faults
    from services.kubelet.hollow_nodes import HollowNodesSettings

    node = replace(kubelet, data_dir=settings.files.kubelet / "hollow", port=settings.ports.hollow)
    file = path_of(settings.hollow_faults)
    faults = read_faults(file) if file is not None else HollowFaults()
    return HollowNodesSettings(node, node_numbers(settings), pod_ranges(settings), faults=faults)
