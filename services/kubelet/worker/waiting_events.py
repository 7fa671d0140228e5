"""The BackOff events of containers that wait for their next start."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.pods import every_container
from services.kubelet.pod.actions import Waiting
from services.kubelet.pod.events import ContainerEvent
from services.kubelet.pod.spec import describe
from services.kubelet.pod.view import PodView


class WaitingEvents:
    """Tells each wait of one pod's containers once."""

    def __init__(self, event: ContainerEvent) -> None:
        self._event = event
        # By container, what it waited for when it was told of last.
        self._told: dict[str, str] = {}

    def tell(self, view: PodView, waits: dict[str, Waiting]) -> None:
        """Tells of the waits that are new; ``waits`` by the containers' names."""
        for name, waiting in waits.items():
            container = view.observation.latest(name)
            mark = f"{waiting.reason}/{container.id if container else view.facts.pulls.get(name)}"
            if self._told.get(name) == mark:
                continue
            self._told[name] = mark
            if waiting.reason == "CrashLoopBackOff":
                message = f"Back-off restarting failed container {name} in pod {describe(view.pod)}"
                self._event("Warning", "BackOff", message, name)
            elif waiting.reason == "ImagePullBackOff":
                self._event("Normal", "BackOff", f'Back-off pulling image "{_image(view.pod, name)}"', name)
                self._event("Warning", "Failed", "Error: ImagePullBackOff", name)


def _image(pod: core.Pod, name: str) -> str:
    return next(spec.image for spec in every_container(pod.spec) if spec.name == name)
