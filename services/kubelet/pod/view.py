"""What decisions and the status of a pod are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.conditions import is_true
from services.kubelet.pod.actions import Waiting
from services.kubelet.pod.facts import PodFacts
from services.kubelet.pod.phase import starts_anew
from services.kubelet.runtime.port import PodObservation

# The condition of a pod that starts anew by a rule of one of its containers.
ALL_RESTARTING = "AllContainersRestarting"


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod as the API has it, what the engine holds of it, and what the kubelet remembers, at one moment."""

    pod: core.Pod
    observation: PodObservation
    facts: PodFacts
    now: datetime


@dataclass(frozen=True, slots=True)
class StatusView(PodView):
    """With what the status says beside: the node's address, why containers wait, the engine's ``scheme``, as ``docker``, and whether the
    node can make mounts read-only throughout."""

    host_ip: str = ""
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    scheme: str = "docker"
    recursive_read_only: bool = False

    @property
    def starting_anew(self) -> bool:
        """All its containers are removed, or were just now, to start once more."""
        return bool(starts_anew(self.pod, self.observation)) or is_true(self.pod.status, ALL_RESTARTING)
