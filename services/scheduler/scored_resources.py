"""What nodes offer of a resource and what would be taken of it, as scores compare them; which resources a profile has compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, duplicate, invalid
from knarr.objects.amounts import CPU, MEMORY
from knarr.objects.whole_pods import HUGE_PAGES
from services.scheduler.nodes import Amount, Nodes, Rows
from services.scheduler.pod_facts import PodFacts

STORAGE = "ephemeral-storage"
_SCALAR = (HUGE_PAGES, "attachable-volumes-")


@dataclass(frozen=True, slots=True)
class ResourceSpec:
    """A resource, and how much it counts; a weight of 0 is none that was given."""

    name: str = ""
    weight: int = 1

    def __post_init__(self) -> None:
        if not self.weight:
            object.__setattr__(self, "weight", 1)


CPU_AND_MEMORY = (ResourceSpec(CPU), ResourceSpec(MEMORY))


@dataclass(frozen=True, slots=True)
class NodeResourcesBalancedAllocationArgs:
    resources: tuple[ResourceSpec, ...] = ()

    @property
    def compared(self) -> Sequence[ResourceSpec]:
        return self.resources or CPU_AND_MEMORY

    def problems(self, path: Path) -> Iterator[Cause]:
        seen = set[str]()
        for at, resource in enumerate(self.resources):
            where = path.child("resources").index(at)
            if resource.name in seen:
                yield duplicate(where.child("name"), resource.name)
            if resource.weight != 1:
                yield invalid(where.child("weight"), resource.weight, "must be 1")
            seen.add(resource.name)


@dataclass(frozen=True, slots=True)
class Compared:
    """Columns of a resource: what nodes offer and what their pods take; and what one more pod asks for."""

    offered: Amount
    taken: Amount
    asked: int

    def of(self, rows: Rows) -> tuple[Amount, Amount]:
        """What the rows offer, and what would be taken of it with the pod."""
        return self.offered[rows], self.taken[rows] + self.asked

    def at(self, row: int) -> tuple[int, int]:
        """The same of one."""
        return self.offered.item(row), self.taken.item(row) + self.asked

    def as_is(self, rows: Rows) -> tuple[Amount, Amount]:
        """What the rows offer, and what is taken of it without the pod."""
        return self.offered[rows], self.taken[rows]

    def as_is_at(self, row: int) -> tuple[int, int]:
        """The same of one."""
        return self.offered.item(row), self.taken.item(row)


def compared(nodes: Nodes, pod: PodFacts, resource: str, *, assumed: bool) -> Compared | None:
    """None for what is not compared for this pod.

    ``assumed``: containers that ask for no CPU and memory are taken to use some. A device is compared for pods that ask for it.
    """
    if resource not in nodes.allocatable:
        return None
    offered = nodes.allocatable[resource]
    if assumed and resource == CPU:
        return Compared(offered, nodes.assumed_cpu, pod.assumed[0])
    if assumed and resource == MEMORY:
        return Compared(offered, nodes.assumed_memory, pod.assumed[1])
    asked = pod.requests.get(resource, 0)
    if resource not in (CPU, MEMORY, STORAGE) and not (asked and ("/" in resource or resource.startswith(_SCALAR))):
        return None
    return Compared(offered, nodes.requested[resource], asked)
