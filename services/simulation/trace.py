"""What a simulation plays: nodes and workloads, and what becomes of them when. Times are seconds from its beginning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import Message

from services.kubelet.runtime.hollow import HollowSettings

# A node's range of addresses is a /24.
MOST_PODS = 250


@dataclass(frozen=True, slots=True)
class NodeChange:
    """At ``at``, ``count`` nodes of a group are added, removed (drained, then gone; the newest first) or fail.

    ``seconds``: how long those that fail are off; None for good.
    """

    at: float
    what: str
    count: int
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """Nodes that are alike: ``count`` of them from ``at`` on. ``cpus`` are whole processors."""

    name: str
    count: int
    cpus: int
    memory_bytes: int
    pods: int = 110
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[str, ...] = ()
    runtime: HollowSettings = HollowSettings()  # noqa: RUF009  frozen
    at: float = 0.0
    changes: Sequence[NodeChange] = ()


@dataclass(frozen=True, slots=True)
class WorkloadChange:
    """``replicas``: how many there are to be from then on; None: it is deleted."""

    at: float
    replicas: int | None


@dataclass(frozen=True, slots=True)
class Workload:
    """Objects that are created at ``at``, in their order. ``changes`` are of the last of them. ``path``: where in the trace they stand."""

    path: str
    at: float
    objects: Sequence[Message]
    changes: Sequence[WorkloadChange] = ()


@dataclass(frozen=True, slots=True)
class Trace:
    """``sample``: how often what there is, is written down."""

    nodes: Sequence[NodeGroup]
    workloads: Sequence[Workload]
    until: float
    sample: float
    seed: int = 0
