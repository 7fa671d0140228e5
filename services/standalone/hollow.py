"""The simulated nodes of a cluster on one machine: how many, and where their pods' addresses are."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from ipaddress import IPv4Network
from itertools import count, islice
from typing import TYPE_CHECKING

from knarr.objects.hollow import node_name
from services.kubelet.settings import KubeletSettings
from services.standalone.settings import ClusterSettings, path_of

if TYPE_CHECKING:
    from services.kubelet.hollow_nodes import HollowNodesSettings


# The runtime whose containers are simulated.
HOLLOW = "hollow"


def pod_range_count(settings: ClusterSettings) -> int:
    """For how many nodes the cluster's range has addresses."""
    return 1 << max(IPv4Network(settings.pod_cidr).prefixlen - IPv4Network(settings.cluster_cidr).prefixlen, 0)


def with_room(settings: ClusterSettings) -> ClusterSettings:
    """The settings with a range of pod addresses that has one for each node: the chosen one, or the least around it."""
    cluster, prefix = IPv4Network(settings.cluster_cidr), IPv4Network(settings.pod_cidr).prefixlen
    ranges = max(node_numbers(settings), default=0) + 1
    while ranges > 1 << max(prefix - cluster.prefixlen, 0) and cluster.prefixlen:
        cluster = cluster.supernet()
    return replace(settings, cluster_cidr=str(cluster))


def node_numbers(settings: ClusterSettings) -> tuple[int, ...]:
    """The numbers of the nodes beyond the first, in their order: the cluster's own is the first of all, and has none."""
    absent = {int(number) for number in settings.absent_nodes.split(",") if number}
    return tuple(islice((number for number in count(1) if number not in absent), settings.nodes - 1))


def with_nodes(settings: ClusterSettings, numbers: Collection[int]) -> ClusterSettings:
    """The settings with these nodes beyond the first."""
    absent = [number for number in range(1, max(numbers, default=0)) if number not in numbers]
    stopped = [number for number in settings.stopped_nodes.split(",") if number and int(number) in numbers]
    return replace(settings, nodes=len(numbers) + 1, absent_nodes=",".join(map(str, absent)), stopped_nodes=",".join(stopped))


def free_numbers(settings: ClusterSettings, amount: int) -> list[int]:
    """For so many nodes more: the lowest that none has."""
    taken = set(node_numbers(settings))
    return list(islice((number for number in count(1) if number not in taken), amount))


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
