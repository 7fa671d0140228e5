"""Events on a pod and on its containers."""

from __future__ import annotations

from collections.abc import Callable

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.events import EventRecorder
from services.kubelet.pod.facts import PodFacts

# Type (Normal or Warning), reason, message; for a container its name too.
ContainerEvent = Callable[[str, str, str, str], None]


class PodEvents:
    """Records the events of one pod, until it is gone from the API."""

    def __init__(self, recorder: EventRecorder, facts: PodFacts, pod: Callable[[], core.Pod]) -> None:
        """``pod`` answers the pod as the API last told it."""
        self._recorder = recorder
        self._facts = facts
        self._pod = pod

    def pod(self, event_type: str, reason: str, message: str) -> None:
        """Records an event on the pod."""
        if not self._facts.gone:
            self._recorder.event(self._pod(), event_type, reason, message)

    def container(self, event_type: str, reason: str, message: str, container: str) -> None:
        """Records an event on one of its containers."""
        if not self._facts.gone:
            pod = self._pod()
            self._recorder.event(pod, event_type, reason, message, field_path=f"spec.{_kind(pod.spec, container)}{{{container}}}")


def _kind(spec: core.PodSpec, container: str) -> str:
    """The field of the spec that has the container."""
    if any(found.name == container for found in spec.init_containers):
        return "initContainers"
    added = any(found.ephemeral_container_common.name == container for found in spec.ephemeral_containers)
    return "ephemeralContainers" if added else "containers"
