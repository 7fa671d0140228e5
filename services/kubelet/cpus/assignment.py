"""Which processors somebody gets who asks for a number of them. Pure.

What belongs together is taken together: whole sockets and NUMA nodes where that many are asked for, then whole cores, then single threads,
each time where least is left free, so that what is whole stays so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import combinations

from services.kubelet.cpu_policy import CpuSet
from services.kubelet.cpus.topology import Topology

# Of more NUMA nodes not all sets are looked at.
MOST_COMBINED = 12


class NotEnough(Exception):
    """So many are not free; the words are Kubernetes'."""

    def __init__(self, requested: int, available: int) -> None:
        super().__init__(f"not enough cpus available to satisfy request: requested={requested}, available={available}")


def take(topology: Topology, free: Collection[int], count: int) -> CpuSet:
    """``count`` of the ``free`` ones; raises NotEnough."""
    left, taken = set(free), set[int]()
    if count > len(left):
        raise NotEnough(count, len(left))
    for level in _levels(topology):
        for members in _whole(topology, level, left):
            if len(members) <= count - len(taken):
                taken |= members
                left -= members
    for cpu in sorted(left, key=lambda cpu: _preference(topology, cpu, left, taken))[: count - len(taken)]:
        taken.add(cpu)
    return frozenset(taken)


def take_across(topology: Topology, free: Collection[int], count: int, group: int) -> CpuSet:
    """As ``take``, but who does not fit into one NUMA node gets as many in each of as few as will do, in multiples of ``group``."""
    nodes = {number: left for number, members in topology.numa_nodes.items() if (left := members & frozenset(free))}
    if count > sum(map(len, nodes.values())) or any(len(members) >= count for members in nodes.values()):
        return take(topology, _tightest(nodes, count) or free, count)
    for size in range(2, min(len(nodes), MOST_COMBINED) + 1):
        splits = [split for chosen in combinations(nodes, size) if (split := _split(nodes, chosen, count, group))]
        if splits:
            best = min(splits, key=lambda split: (_unevenness(nodes, split), sorted(split)))
            return frozenset(cpu for number, share in best.items() for cpu in take(topology, nodes[number], share))
    return take(topology, free, count)


def _levels(topology: Topology) -> list[Mapping[int, CpuSet]]:
    """From the largest to the smallest."""
    outer = [topology.sockets, topology.numa_nodes]
    return [*sorted(outer, key=len), topology.cores]


def _whole(topology: Topology, level: Mapping[int, CpuSet], free: set[int]) -> list[CpuSet]:
    """Those of which nothing is taken, of sockets where fewest are left first."""

    def left(members: CpuSet) -> int:
        return len(topology.sockets[topology[min(members)].socket] & free)

    return sorted((members for members in level.values() if members <= free), key=lambda members: (left(members), min(members)))


def _preference(topology: Topology, cpu: int, left: Collection[int], taken: Collection[int]) -> tuple[int, int, int, int]:
    """Single ones come from where the others came from, else from the socket, and the core, where least is free."""
    found = topology[cpu]
    socket, core = topology.sockets[found.socket], topology.cores[found.core]
    return -len(socket & frozenset(taken)), len(socket & frozenset(left)), len(core & frozenset(left)), cpu


def _tightest(nodes: Mapping[int, CpuSet], count: int) -> CpuSet | None:
    """The NUMA node in which least would be left."""
    return min(
        (members for members in nodes.values() if len(members) >= count), key=lambda members: (len(members), min(members)), default=None
    )


def _split(nodes: Mapping[int, CpuSet], chosen: Collection[int], count: int, group: int) -> dict[int, int]:
    """How many each of the chosen nodes gives; empty where they have not as many each."""
    share = count // len(chosen) // group * group
    if not share or any(len(nodes[number]) < share for number in chosen):
        return {}
    split = dict.fromkeys(chosen, share)
    rest = count - share * len(chosen)
    while rest > 0:
        step = min(group, rest)
        number = max(chosen, key=lambda number: (len(nodes[number]) - split[number], -number))
        if len(nodes[number]) - split[number] < step:
            return {}
        split[number] += step
        rest -= step
    return split


def _unevenness(nodes: Mapping[int, CpuSet], split: Mapping[int, int]) -> float:
    """Of what all nodes have left after it."""
    left = [len(members) - split.get(number, 0) for number, members in nodes.items()]
    mean = sum(left) / len(left)
    return sum((amount - mean) ** 2 for amount in left)
