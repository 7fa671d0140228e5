"""What pods use of what a node may run short of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from knarr.api.core.v1 import core_pb2 as core


@dataclass(frozen=True, slots=True)
class Observation:
    """Of one signal: how much is available, and how much there is in all."""

    available: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Space:
    """On a disk: bytes, and files of any kind."""

    bytes: int = 0
    inodes: int = 0

    def __add__(self, other: Space) -> Space:
        return Space(self.bytes + other.bytes, self.inodes + other.inodes)


NOTHING = Space()


@dataclass(frozen=True, slots=True)
class Written:
    """What a container has written: into its own layer, and as its logs."""

    root: Space = NOTHING
    logs: Space = NOTHING

    @property
    def both(self) -> Space:
        return self.root + self.logs


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    """Of one container; None: it was not measured."""

    memory_bytes: int | None = None
    written: Written | None = None


@dataclass(frozen=True, slots=True)
class PodUsage:
    """Of one pod, as far as it was measured. ``volumes`` has those on the node's disk that end with the pod; ``logs_on_images`` tells that
    the engine keeps logs where it keeps images."""

    memory_bytes: int = 0
    processes: int = 0
    containers: Mapping[str, ContainerUsage] = field(default_factory=dict)
    volumes: Mapping[str, Space] = field(default_factory=dict)
    logs_on_images: bool = False

    def space(self, *, root: bool = True, logs: bool = True, volumes: bool = True) -> Space:
        """All of it, or of these kinds only."""
        total = NOTHING
        for container in self.containers.values():
            written = container.written or Written()
            total += written.root if root else NOTHING
            total += written.logs if logs else NOTHING
        for volume in self.volumes.values() if volumes else ():
            total += volume
        return total


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pod that runs, and what it uses; None: that is not known."""

    pod: core.Pod
    usage: PodUsage | None = None
