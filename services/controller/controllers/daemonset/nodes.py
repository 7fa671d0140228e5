"""The nodes as one DaemonSet sees them: whether its pods belong there, and which are there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.times import to_datetime
from knarr.objects.keys import is_deleting
from knarr.objects.node_selection import node_named_by
from knarr.objects.pods import is_finished, seconds_until_available
from services.controller.controllers.daemonset.placement import NOT_FIT, Fit, fit
from services.controller.workloads.history import POD_REVISION


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node, or one that is gone (``exists`` is False) but has pods still.

    ``pods`` are the DaemonSet's: those that are bound first, the oldest first.
    """

    name: str
    fit: Fit = NOT_FIT
    exists: bool = True
    pods: Sequence[core.Pod] = ()


@dataclass(frozen=True, slots=True)
class Pods:
    """What is asked of a DaemonSet's pods. ``hashes`` are those of the revisions that have the wanted template."""

    hashes: Collection[str]
    min_ready_seconds: int
    now: datetime = field(compare=False)

    def is_new(self, pod: core.Pod) -> bool:
        """Whether it is of the wanted template."""
        return pod.metadata.labels.get(POD_REVISION, "") in self.hashes

    def is_available(self, pod: core.Pod) -> bool:
        """Whether it has been ready for long enough."""
        return seconds_until_available(pod, self.min_ready_seconds, self.now) == 0


def views(daemon_set: apps.DaemonSet, nodes: Iterable[core.Node], pods: Iterable[core.Pod]) -> list[NodeView]:
    """All nodes, in the order of their names.

    Pods that have ended and are being deleted hold no node; those that name none are not seen.
    """
    placed: defaultdict[str, list[core.Pod]] = defaultdict(list)
    for pod in pods:
        name = pod.spec.node_name or node_named_by(pod.spec)
        if name and not (is_deleting(pod) and is_finished(pod)):
            placed[name].append(pod)
    for found in placed.values():
        found.sort(key=_bound_and_oldest_first)
    known = {node.metadata.name: NodeView(node.metadata.name, fit(daemon_set, node), True, placed[node.metadata.name]) for node in nodes}
    gone = {name: NodeView(name, exists=False, pods=found) for name, found in placed.items() if name not in known}
    return sorted([*known.values(), *gone.values()], key=lambda view: view.name)


def _bound_and_oldest_first(pod: core.Pod) -> tuple[bool, datetime, str]:
    return not pod.spec.node_name, to_datetime(pod.metadata.creation_timestamp), pod.metadata.name
