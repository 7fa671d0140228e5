"""Node ranges: from the cluster's range and what nodes have already to the range of one more node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network

from knarr.api.core.v1 import core_pb2 as core


@dataclass(frozen=True, slots=True)
class ClusterRange:
    """The range of all pods, cut into one part of ``node_prefix`` bits for each node."""

    network: IPv4Network
    node_prefix: int

    def __post_init__(self) -> None:
        if not self.network.prefixlen <= self.node_prefix <= 30:
            raise ValueError(f"a /{self.node_prefix} for each node cannot be cut from {self.network}")

    def free(self, taken: Iterable[IPv4Network], after: IPv4Network | None = None) -> IPv4Network | None:
        """The first part that overlaps nothing taken, searched from behind ``after`` on and around, so that one that
        was given back rests for as long as it can; None when all are taken.
        """
        used = {index for network in taken for index in self._parts(network)}
        count = 1 << (self.node_prefix - self.network.prefixlen)
        start = max(self._parts(after), default=-1) + 1 if after is not None else 0
        if len(used) >= count:
            return None
        index = next(index % count for index in range(start, start + count) if index % count not in used)
        return self._part(index)

    def has_part(self, network: IPv4Network) -> bool:
        """Whether it is one of the parts."""
        return network.prefixlen == self.node_prefix and network.subnet_of(self.network)

    def _size(self) -> int:
        return 1 << (32 - self.node_prefix)

    def _part(self, index: int) -> IPv4Network:
        return IPv4Network((int(self.network.network_address) + index * self._size(), self.node_prefix))

    def _parts(self, network: IPv4Network) -> range:
        """The parts that a network reaches into."""
        if not network.overlaps(self.network):
            return range(0)
        first = max(int(network.network_address), int(self.network.network_address)) - int(self.network.network_address)
        last = min(int(network.broadcast_address), int(self.network.broadcast_address)) - int(self.network.network_address)
        return range(first // self._size(), last // self._size() + 1)


def ranges_of(node: core.Node) -> Iterator[IPv4Network]:
    """The IPv4 ranges that a node has, however they came there."""
    for text in {node.spec.pod_cidr, *node.spec.pod_cidrs} - {""}:
        try:
            yield IPv4Network(text, strict=False)
        except ValueError:
            continue


def has_range(node: core.Node) -> bool:
    return bool(node.spec.pod_cidr or node.spec.pod_cidrs)


def rivals(node: core.Node, others: Iterable[core.Node]) -> list[str]:
    """Names of the nodes whose ranges overlap this one's."""
    mine = list(ranges_of(node))
    return sorted(
        other.metadata.name
        for other in others
        if other.metadata.uid != node.metadata.uid and any(one.overlaps(two) for one in mine for two in ranges_of(other))
    )
