"""Pod garbage: pods that no kubelet will ever finish, and finished ones beyond the limit."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.times import to_datetime
from knarr.objects.conditions import is_true
from knarr.objects.keys import is_deleting
from knarr.objects.nodes import is_taken_out
from knarr.objects.pods import FAILED, is_finished


@dataclass(frozen=True, slots=True)
class Garbage:
    """A pod to delete at once, and why. ``disrupted``: it may still be believed to run. ``unfinished``: nobody else will say that it has
    ended."""

    pod: core.Pod
    reason: str
    disrupted: bool = False
    unfinished: bool = False


def is_out_of_service(node: core.Node) -> bool:
    """Whether somebody says that nothing runs there any more, and the node does not say otherwise."""
    return not is_true(node.status, "Ready") and is_taken_out(node)


def decide(pods: Iterable[core.Pod], lost_nodes: Set[str], threshold: int, unserved: Set[str] = frozenset()) -> list[Garbage]:
    """``lost_nodes`` do not exist, for certain; those ``unserved`` are out of service; at most ``threshold`` finished pods stay (0: all),
    evicted ones go first."""
    garbage = list[Garbage]()
    finished = list[core.Pod]()
    for pod in pods:
        if pod.spec.node_name in lost_nodes:
            garbage.append(Garbage(pod, f"node {pod.spec.node_name} does not exist", disrupted=True))
        elif pod.spec.node_name in unserved and is_deleting(pod):
            garbage.append(Garbage(pod, f"node {pod.spec.node_name} is out of service", unfinished=True))
        elif not pod.spec.node_name and is_deleting(pod):
            garbage.append(Garbage(pod, "it was deleted before it was scheduled", unfinished=True))
        elif is_finished(pod) and not is_deleting(pod):
            finished.append(pod)
    surplus = len(finished) - threshold
    if threshold and surplus > 0:
        finished.sort(key=lambda pod: (not _is_evicted(pod), to_datetime(pod.metadata.creation_timestamp), pod.metadata.name))
        garbage += [Garbage(pod, "too many pods have finished") for pod in finished[:surplus]]
    return garbage


def _is_evicted(pod: core.Pod) -> bool:
    return pod.status.phase == FAILED and pod.status.reason == "Evicted"
