"""Pod garbage: pods that no kubelet will ever finish, and finished ones beyond the limit."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.times import to_datetime
from knarr.objects.keys import is_deleting
from knarr.objects.pods import is_finished


@dataclass(frozen=True, slots=True)
class Garbage:
    """A pod to delete at once, and why. ``disrupted``: it may still be believed to run."""

    pod: core.Pod
    reason: str
    disrupted: bool = False


def decide(pods: Iterable[core.Pod], lost_nodes: Set[str], threshold: int) -> list[Garbage]:
    """``lost_nodes`` do not exist, for certain; at most ``threshold`` finished pods stay (0: all)."""
    garbage = list[Garbage]()
    finished = list[core.Pod]()
    for pod in pods:
        if pod.spec.node_name in lost_nodes:
            garbage.append(Garbage(pod, f"node {pod.spec.node_name} does not exist", disrupted=True))
        elif not pod.spec.node_name and is_deleting(pod):
            garbage.append(Garbage(pod, "it was deleted before it was scheduled"))
        elif is_finished(pod) and not is_deleting(pod):
            finished.append(pod)
    surplus = len(finished) - threshold
    if threshold and surplus > 0:
        finished.sort(key=lambda pod: (to_datetime(pod.metadata.creation_timestamp), pod.metadata.name))
        garbage += [Garbage(pod, "too many pods have finished") for pod in finished[:surplus]]
    return garbage
