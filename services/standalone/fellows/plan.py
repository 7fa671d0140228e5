"""The nodes beside a machine's own that run containers: what each is called and where it is. Pure.

A fellow shares the machine and its engine with the cluster's own node, and has a network namespace, an address, a kubelet and a proxy of
its own. Fellows have numbers from 1 on, as simulated nodes have; they are called by the place that they have among all nodes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from knarr.objects.hollow import node_name, node_number
from services.kubelet.runtime.catalog import bridge_name
from services.standalone.hollow import HOLLOW, node_numbers, pod_ranges
from services.standalone.settings import ClusterSettings

# What their Nodes are labelled with: the name of the cluster's own node.
LABEL = "knarr.dev/shares-machine-of"
# Addresses that are nobody's: network, gateway, broadcast.
SPARED = 3
# The name that an engine can give to whoever runs in a container has no more.
HOSTNAME_LENGTH = 63


@dataclass(frozen=True, slots=True)
class Fellow:
    """One of them. ``folder`` is where its kubelet, its credentials and its log are."""

    number: int
    name: str
    address: str
    pod_range: str
    folder: Path

    @property
    def hostname(self) -> str:
        return self.name[:HOSTNAME_LENGTH].rstrip("-.")

    @property
    def kubelet(self) -> Path:
        return self.folder / "kubelet"

    @property
    def log(self) -> Path:
        return self.folder / "node.log"


def may_have_fellows(settings: ClusterSettings) -> bool:
    """Whether further nodes of a cluster would run containers, and can: each needs an engine that lets it have its own network."""
    return settings.runtime == "docker" and settings.datapath == "nftables"


def running_fellows(settings: ClusterSettings) -> list[Fellow]:
    """Those that are not switched off."""
    off = {int(number) for number in settings.stopped_nodes.split(",") if number}
    return [one for one in fellows(settings) if one.number not in off]


def fellow(settings: ClusterSettings, number: int) -> Fellow:
    name = fellow_name(settings, number)
    address = str(IPv4Network(settings.node_cidr)[number + 1])
    return Fellow(number, name, address, pod_ranges(settings)(number), fellows_folder(settings) / name)


def fellows(settings: ClusterSettings) -> list[Fellow]:
    """All that there are to be."""
    return [fellow(settings, number) for number in node_numbers(settings)] if may_have_fellows(settings) else []


def node_names(settings: ClusterSettings) -> list[str]:
    """Of all nodes that run containers: the cluster's own, and those whose folders are there, which may be to be no more."""
    folder = fellows_folder(settings)
    there = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return list(dict.fromkeys((settings.node, *(one.name for one in fellows(settings)), *sorted(there))))


def name_of(settings: ClusterSettings, number: int) -> str:
    """What a node beyond the first is called, simulated or not."""
    return node_name(number) if settings.runtime == HOLLOW else fellow_name(settings, number)


def number_of(settings: ClusterSettings, name: str) -> int:
    """The number that gives such a name; 0 where none does."""
    return node_number(name) if settings.runtime == HOLLOW else fellow_number(settings, name)


def fellow_name(settings: ClusterSettings, number: int) -> str:
    """The second node of the machine ``my`` is ``my-2``."""
    return f"{settings.node}-{number + 1}"


def fellow_number(settings: ClusterSettings, name: str) -> int:
    """The number that gives a name; 0 where none does."""
    found = re.fullmatch(rf"{re.escape(settings.node)}-([1-9]\d{{0,4}})", name)
    return max(int(found[1]) - 1, 0) if found else 0


def fellows_folder(settings: ClusterSettings) -> Path:
    return settings.files.fellows


def most_fellows(settings: ClusterSettings) -> int:
    """For how many there are addresses."""
    return max(IPv4Network(settings.node_cidr).num_addresses - SPARED, 0)


def gateway(settings: ClusterSettings) -> str:
    """Where they reach the machine, and by it everybody else."""
    return str(IPv4Network(settings.node_cidr)[1])


def network_name(cluster_id: str) -> str:
    """The network that they are on, as the engine calls it."""
    return f"knarr-{cluster_id}-nodes"


def network_bridge(cluster_id: str) -> str:
    """… and the machine's interface to it."""
    return f"{bridge_name(cluster_id)}-n"


def container_name(cluster_id: str, name: str) -> str:
    """The container that has a fellow's network namespace."""
    return f"knarr-{cluster_id}-{name}"
