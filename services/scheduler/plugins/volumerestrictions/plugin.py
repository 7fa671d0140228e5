"""A claim of mode ReadWriteOncePod belongs to one pod at a time, wherever that is."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.volumes import ONE_POD, claim_names
from services.scheduler.nodes import Mask, Nodes
from services.scheduler.parts import Part, Subject
from services.scheduler.plugin import Change, Plugin
from services.scheduler.pod_facts import PodFacts

TAKEN = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"


class VolumeRestrictions(Plugin):
    name: ClassVar[str] = "VolumeRestrictions"
    reads: ClassVar[frozenset[Part]] = frozenset(
        {Part(Subject.POD, "spec.volumes"), Part(Subject.PLACED, "spec.volumes"), Part(Subject.CLAIM, "spec.accessModes")}
    )

    def filter(self, pod: PodFacts, nodes: Nodes) -> Mask | None:
        wanted = {name for name in claim_names(pod.pod) if self._is_of_one_pod(pod, name)}
        if not wanted:
            return None
        rows = np.flatnonzero(nodes.alive[: nodes.size])
        placed = (other for row in rows for other in nodes.pods_on(int(row)).values() if other.key.namespace == pod.key.namespace)
        taken = any(not wanted.isdisjoint(claim_names(other.pod)) for other in placed)
        return np.full(nodes.size, not taken, np.bool_)

    def reasons(self, pod: PodFacts, nodes: Nodes, row: int) -> list[str]:
        return [TAKEN]

    def mends(self, pod: PodFacts, nodes: Nodes, change: Change) -> bool:
        return any(part.subject is not Subject.NODE for part in change.parts)

    def _is_of_one_pod(self, pod: PodFacts, name: str) -> bool:
        claim = self.cluster.get(core.PersistentVolumeClaim, pod.key.namespace, name)
        return claim is not None and ONE_POD in claim.spec.access_modes
