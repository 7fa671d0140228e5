"""What a plugin is: a filter, a score, or both, over all nodes at once."""

from __future__ import annotations

import abc
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.amounts import shown
from services.scheduler.nodes import Mask, Nodes, Rows
from services.scheduler.parts import Part, Subject
from services.scheduler.pod_facts import TELLING, PodFacts
from services.scheduler.preparation import Preparation

MAX_SCORE = 100
# A hindrance that two plugins may name: a node that is cordoned has a taint that says so.
CORDONED = "being cordoned"

Scores = NDArray[np.int64]
M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Change:
    """Something that may make a waiting pod schedulable.

    ``parts`` are those that changed: of a node that came, all that are compared; of a pod that left a node, all that plugins read.
    ``row`` is the node's where it happened; None for a change of the waiting pod itself or of another object of the cluster.
    ``left`` and ``came`` are pods that left the node and came to it: one that changed there is both, as it was and as it is; neither where
    the node itself changed, or came with its pods. ``old`` and ``new`` are the other object of the cluster, before and after; None where it
    was not there, or is not any more.
    """

    parts: frozenset[Part]
    row: int | None = None
    left: PodFacts | None = None
    came: PodFacts | None = None
    old: Message | None = None
    new: Message | None = None

    @property
    def arrival(self) -> bool:
        """A pod came to the node, and none left it."""
        return self.came is not None and self.left is None

    @property
    def of_pod(self) -> bool:
        """It is a placed pod that came, left or changed."""
        return self.came is not None or self.left is not None


@dataclass(frozen=True, slots=True)
class Release:
    """``obj`` as its status is to be written, if anything is given back; ``words`` are said after the reasons of the decision."""

    words: str
    obj: Message | None = None


class Impossible(Exception):
    """A pod can be placed on no node: the words of the event."""


def why_impossible(look: Callable[[], object]) -> str:
    """The words of the ``Impossible`` that a look at a pod ends with; empty where it does not."""
    try:
        look()
    except Impossible as error:
        return str(error)
    return ""


@dataclass(frozen=True, slots=True)
class Lack:
    """In whole units (see ``knarr.objects.amounts``): what a pod asks for, what is free and how much there is in all."""

    asked: int
    free: int
    offered: int

    @property
    def missing(self) -> int:
        """How much less the pod would have to ask for: at most all of it."""
        return min(self.asked - self.free, self.asked)


class Cluster(abc.ABC):
    """What plugins may ask besides nodes and pods."""

    @abc.abstractmethod
    def list(self, kind: type[M], namespace: str = "") -> Sequence[M]:
        """The objects of a kind that some plugin declares to read: those of a namespace, or all without one."""

    @abc.abstractmethod
    def get(self, kind: type[M], namespace: str, name: str) -> M | None:
        """One of them; the namespace of a cluster-scoped one is empty."""

    def is_pending(self, obj: Message) -> bool:
        """Whether one that ``get`` has answered is as it was decided to be, and not written yet."""
        return False


class Room(abc.ABC):
    """What a filter says of one node for a pod, where that is arithmetic about the pods on it: it is told who leaves and comes back."""

    @abc.abstractmethod
    def take(self, other: PodFacts) -> None:
        """A pod leaves the node."""

    @abc.abstractmethod
    def put(self, other: PodFacts) -> None:
        """A pod comes to it."""

    @abc.abstractmethod
    def refusal(self) -> list[str] | None:
        """Why the filter refuses the node as it is now, as ``reasons`` would say; None where it does not."""


class Plugin(abc.ABC):
    """One rule. Stateless but for caches: the same nodes and pod give the same answer."""

    # As `Explain` names it.
    name: ClassVar[str]
    # What the score counts, of all scores, where a profile does not say otherwise.
    weight: ClassVar[int] = 1
    # A dataclass of what a profile may say of it in `pluginConfig`, which the plugin is made with after the cluster. It has a
    # `problems(path)` where not everything that fits its fields will do.
    Args: ClassVar[type[Any] | None] = None
    # Everything that the answers depend on. A change in one of these parts tries the pods again that the filter refused.
    reads: ClassVar[frozenset[Part]]
    # Whether a pod that comes to a node may help one that the filter refused; one that leaves always may.
    helped_by_arrivals: ClassVar[bool] = False
    # Facts (of ``PodFacts``) of which a pod must have one, or the filter, the score and ``impossible`` say nothing of it; without any here
    # they are asked about all pods. A plain pod then pays nothing for plugins on volumes and devices.
    concerned_by: ClassVar[frozenset[str]] = frozenset()
    # Whether what is said of a node depends on pods of other nodes, too.
    across: ClassVar[bool] = False

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def __init_subclass__(cls) -> None:
        reads = getattr(cls, "reads", None)
        if not isinstance(reads, frozenset) or not all(isinstance(part, Part) for part in reads):
            raise TypeError(f"{cls.__name__} must declare in `reads`, a frozenset of Part, what its answers depend on")
        if unknown := cls.concerned_by - TELLING:
            known = ", ".join(sorted(TELLING))
            raise TypeError(f"{cls.__name__} declares in `concerned_by` {', '.join(sorted(unknown))}; known are {known}")

    @property
    def reads_placed(self) -> bool:
        """Whether the answers depend on what is placed; else no pod that leaves changes them."""
        return any(part.subject is Subject.PLACED for part in self.reads)

    def concerns(self, pod: PodFacts) -> bool:
        """Whether the filter, the score and ``impossible`` may have something to say of a pod, by ``concerned_by``."""
        return not self.concerned_by or not self.concerned_by.isdisjoint(pod.has)

    def impossible(self, pod: PodFacts) -> str:
        """Why no node whatever will do, in the words of the event; empty where some may. ``filter`` accepts none then."""
        return ""

    def excluded(self, pod: PodFacts, nodes: Nodes) -> Mask | None:
        """Rows that are out of the question before any filter is asked; None where none is. ``filter`` refuses them, too."""
        return None

    def filter(self, pod: PodFacts, nodes: Nodes) -> Mask | None:
        """Which rows the pod may be placed on; None means all. Dead rows may hold anything."""
        return None

    def accepts(self, pod: PodFacts, nodes: Nodes, row: int) -> bool:
        """What ``filter`` says of one row; for a plugin that can tell without looking at the others."""
        mask = self.filter(pod, nodes)
        return mask is None or bool(mask[row])

    def indifferent(self, pod: PodFacts, nodes: Nodes) -> bool:
        """Whether the filter accepts any node for a pod, as it is and whichever pods leave; False when in doubt."""
        return not self.concerns(pod)

    def lasting(self, pod: PodFacts, nodes: Nodes) -> Mask | None:
        """Of the rows that the filter refuses those that it would refuse whichever pods left them; None where there are none."""
        accepted = None if self.reads_placed else self.filter(pod, nodes)
        return None if accepted is None else ~accepted

    def room(self, pod: PodFacts, nodes: Nodes, row: int) -> Room | None:
        """What stands for the filter at one row while pods leave it and come back; None where it has to see the nodes."""
        return None

    def minded(self, pod: PodFacts) -> Callable[[PodFacts], bool]:
        """Which placed pods the filter minds for a pod: those without which it may judge otherwise. Good for one decision."""
        return lambda _: True

    def reasons(self, pod: PodFacts, nodes: Nodes, row: int) -> list[str]:
        """Why the filter refuses a row, in the words of the FailedScheduling event."""
        return []

    def all_reasons(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Iterable[list[str]]:
        """The reasons of each of the rows, for a plugin that can spare itself work by looking at all of them together."""
        return (self.reasons(pod, nodes, int(row)) for row in rows)

    def hindrance(self, pod: PodFacts, nodes: Nodes, row: int) -> str:
        """What it is that keeps the pod off a row that the filter refuses, for a sentence: ``taint {gpu: }``."""
        return f"{self.name} ({', '.join(self.reasons(pod, nodes, row))})"

    def lacks(self, pod: PodFacts, nodes: Nodes, row: int) -> Mapping[str, Lack]:
        """Of what a row that the filter refuses has too little, by resource; nothing where the filter is not about amounts."""
        return {}

    def details(self, pod: PodFacts, nodes: Nodes, row: int) -> Sequence[str]:
        """What the filter compared at a row that it refuses, for a person: ``cpu: asks for 2, 1500m of 4 is free``."""
        return [
            f"{resource}: asks for {shown(resource, lack.asked)}, {shown(resource, lack.free)} of {shown(resource, lack.offered)} is free"
            for resource, lack in self.lacks(pod, nodes, row).items()
        ]

    def counted_reasons(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Counter[str]:
        """How often each reason is one of a row's."""
        return Counter(reason for words in self.all_reasons(pod, nodes, rows) for reason in words)

    def score(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Scores | None:
        """How good each of the rows is, 0 to 100; None when it makes no difference."""
        return None

    def prepare(self, pod: PodFacts, node: core.Node) -> Preparation | None:
        """What must be so before the pod is bound to a node that the filter accepts; None when nothing must."""
        return None

    def release(self, pod: PodFacts, nodes: Nodes) -> Release | None:
        """What may be given back for a pod that no node takes, and that the filter refused some; None where nothing may."""
        return None

    def accepts_some(self, pod: PodFacts, nodes: Nodes) -> bool:
        """Whether the filter accepts any node."""
        mask = self.filter(pod, nodes)
        return mask is None or bool((mask & nodes.alive[: nodes.size]).any())

    def mends(self, pod: PodFacts, nodes: Nodes, change: Change) -> bool:
        """Whether a change in something that it reads may end this filter's refusal of a waiting pod; True when in doubt."""
        return True


def normalized(values: NDArray[np.int64], *, reverse: bool = False) -> Scores:
    """Scales to 0 … 100 by the largest value; ``reverse`` makes the smallest value the best."""
    highest = int(values.max(initial=0))
    if highest == 0:
        return np.full(len(values), MAX_SCORE if reverse else 0, np.int64)
    scaled = values * MAX_SCORE // highest
    return MAX_SCORE - scaled if reverse else scaled
