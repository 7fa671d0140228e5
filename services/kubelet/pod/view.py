"""What decisions and the status of a pod are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.pod.actions import Waiting
from services.kubelet.pod.facts import PodFacts
from services.kubelet.runtime.port import PodObservation


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod as the API has it, what the engine holds of it, and what the kubelet remembers, at one moment."""

    pod: core.Pod
    observation: PodObservation
    facts: PodFacts
    now: datetime


@dataclass(frozen=True, slots=True)
class StatusView(PodView):
    """With what the status says beside: the node's address, why containers wait, and the engine's ``scheme``, as ``docker``."""

    host_ip: str = ""
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    scheme: str = "docker"
