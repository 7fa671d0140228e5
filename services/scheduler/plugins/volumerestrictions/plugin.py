"""A claim of mode ReadWriteOncePod belongs to one pod at a time, wherever that is."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.volumes import ONE_POD
from services.scheduler.nodes import Mask, Nodes
from services.scheduler.parts import Part, Subject
from services.scheduler.plugin import Change, Plugin
from services.scheduler.pod_facts import PodFacts, facts_of

TAKEN = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"


class VolumeRestrictions(Plugin):
    name: ClassVar[str] = "VolumeRestrictions"
    concerned_by: ClassVar[frozenset[str]] = frozenset({"claims"})
    across: ClassVar[bool] = True
    reads: ClassVar[frozenset[Part]] = (
        frozenset({Part(Subject.CLAIM, "spec.accessModes")}) | facts_of(Subject.POD, "claims") | facts_of(Subject.PLACED, "claims")
    )

    def filter(self, pod: PodFacts, nodes: Nodes) -> Mask | None:
        wanted = self._wanted(pod)
        if not wanted:
            return None
        rows = np.flatnonzero(nodes.alive[: nodes.size])
        taken = any(_uses(other, pod, wanted) for row in rows for other in nodes.pods_on(int(row)).values())
        return np.full(nodes.size, not taken, np.bool_)

    def indifferent(self, pod: PodFacts, nodes: Nodes) -> bool:
        return not self._wanted(pod)

    def minded(self, pod: PodFacts) -> Callable[[PodFacts], bool]:
        wanted = self._wanted(pod)
        return lambda other: _uses(other, pod, wanted)

    def reasons(self, pod: PodFacts, nodes: Nodes, row: int) -> list[str]:
        return [TAKEN]

    def mends(self, pod: PodFacts, nodes: Nodes, change: Change) -> bool:
        return any(part.subject is not Subject.NODE for part in change.parts)

    def _wanted(self, pod: PodFacts) -> frozenset[str]:
        """The pod's claims that belong to one pod."""
        return frozenset(name for name in pod.claims if self._is_of_one_pod(pod, name))

    def _is_of_one_pod(self, pod: PodFacts, name: str) -> bool:
        claim = self.cluster.get(core.PersistentVolumeClaim, pod.key.namespace, name)
        return claim is not None and ONE_POD in claim.spec.access_modes


def _uses(other: PodFacts, pod: PodFacts, wanted: frozenset[str]) -> bool:
    """Whether another pod uses one of the claims that a pod wants."""
    return bool(wanted) and other.key.namespace == pod.key.namespace and not wanted.isdisjoint(other.claims)
