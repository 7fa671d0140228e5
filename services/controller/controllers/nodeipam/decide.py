"""Node ranges: from the cluster's range and what nodes have already to the range of one more node."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network

from knarr.api.core.v1 import core_pb2 as core

# Of a cluster of many nodes: the ranges of all are looked at for each that comes.
REMEMBERED = 16_384


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
        return self.free_part({*self.parts(taken)}, after)

    def free_part(self, used: Collection[int], after: IPv4Network | None = None) -> IPv4Network | None:
        """The same, given the numbers of the parts that are used."""
        count = 1 << (self.node_prefix - self.network.prefixlen)
        start = max(self._parts(after), default=-1) + 1 if after is not None else 0
        if len(used) >= count:
            return None
        index = next(index % count for index in range(start, start + count) if index % count not in used)
        return self._part(index)

    def parts(self, networks: Iterable[IPv4Network]) -> Iterator[int]:
        """The numbers of the parts that these reach into; one may come again."""
        for network in networks:
            yield from self._parts(network)

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
    for text in _texts(node):
        if (found := _network(text)) is not None:
            yield found


def has_range(node: core.Node) -> bool:
    return bool(node.spec.pod_cidr or node.spec.pod_cidrs)


def rivals(node: core.Node, others: Iterable[core.Node]) -> list[str]:
    """Names of the nodes whose ranges overlap this one's."""
    mine, own = _spans(node), node.metadata.uid
    return sorted(
        other.metadata.name
        for other in others
        if any(first <= end and begin <= last for first, last in _spans(other) for begin, end in mine) and other.metadata.uid != own
    )


def _spans(node: core.Node) -> list[tuple[int, int]]:
    return [span for text in _texts(node) if (span := _span(text)) is not None]


def _texts(node: core.Node) -> set[str]:
    return {node.spec.pod_cidr, *node.spec.pod_cidrs} - {""}


@lru_cache(REMEMBERED)
def _network(text: str) -> IPv4Network | None:
    """None for what is none, such as a range of IPv6."""
    try:
        return IPv4Network(text, strict=False)
    except ValueError:
        return None


@lru_cache(REMEMBERED)
def _span(text: str) -> tuple[int, int] | None:
    """The first and the last address of a range, as numbers: they are compared in a tenth of the time."""
    found = _network(text)
    return None if found is None else (int(found.network_address), int(found.broadcast_address))
