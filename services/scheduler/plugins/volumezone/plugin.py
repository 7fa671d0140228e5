"""A pod goes to a zone and a region that its volumes have in their labels.

Volumes say so in labels where whoever made them knew of no node affinity. A node without any such label is in no zone: it will do.
https://kubernetes.io/docs/reference/labels-annotations-taints/#topologykubernetesiozone
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.objects.labels import BETA_REGION, BETA_ZONE, REGION, ZONE
from knarr.objects.volumes import WAIT_FOR_FIRST_CONSUMER, storage_class_of
from services.scheduler.nodes import Mask, Nodes
from services.scheduler.parts import NODE_LABELS, Part, Subject
from services.scheduler.plugin import Change, Cluster, Impossible, Plugin, why_impossible
from services.scheduler.pod_facts import PodFacts
from services.scheduler.row_cache import RowCache

CONFLICT = "node(s) had no available volume zone"
# What a node may have instead of a label.
_NOW = {BETA_ZONE: ZONE, BETA_REGION: REGION}
LABELS = (BETA_ZONE, BETA_REGION, ZONE, REGION)

# Labels of volumes, each with the places of which a node must be in one.
Places = tuple[tuple[str, tuple[str, ...]], ...]


class VolumeZone(Plugin):
    name: ClassVar[str] = "VolumeZone"
    concerned_by: ClassVar[frozenset[str]] = frozenset({"claims"})
    reads: ClassVar[frozenset[Part]] = frozenset(
        {
            NODE_LABELS,
            Part(Subject.POD, "spec.volumes"),
            Part(Subject.CLAIM, "spec.volumeName"),
            Part(Subject.CLAIM, "spec.storageClassName"),
            Part(Subject.CLAIM, "metadata.annotations"),
            Part(Subject.VOLUME, "metadata.labels"),
            Part(Subject.STORAGE_CLASS, "volumeBindingMode"),
        }
    )

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._within = RowCache(self.reads, is_within, np.bool_)

    def impossible(self, pod: PodFacts) -> str:
        return why_impossible(lambda: self._places(pod))

    def filter(self, pod: PodFacts, nodes: Nodes) -> Mask | None:
        try:
            places = self._places(pod)
        except Impossible:
            return np.zeros(nodes.size, np.bool_)
        return self._within.get(nodes, places, places) if places else None

    def reasons(self, pod: PodFacts, nodes: Nodes, row: int) -> list[str]:
        return [self.impossible(pod) or CONFLICT]

    def mends(self, pod: PodFacts, nodes: Nodes, change: Change) -> bool:
        if change.row is not None:
            return self.accepts(pod, nodes, change.row)
        match change.new:
            case core.PersistentVolumeClaim() as claim:
                return claim.metadata.namespace == pod.key.namespace and claim.metadata.name in _named(pod)
            case core.PersistentVolume() as volume:
                return not isinstance(change.old, core.PersistentVolume) or places_of(change.old) != places_of(volume)
            case storage.StorageClass() as found:
                return change.old is None and found.volume_binding_mode == WAIT_FOR_FIRST_CONSUMER
            case None:
                # Of what is gone, nothing but the pod itself can be meant.
                return change.old is None
        return True

    def _places(self, pod: PodFacts) -> Places:
        """Raises Impossible."""
        return tuple(sorted({place for name in _named(pod) for place in self._places_for(pod, name)}))

    def _places_for(self, pod: PodFacts, name: str) -> Places:
        claim = self.cluster.get(core.PersistentVolumeClaim, pod.key.namespace, name)
        if claim is None:
            raise Impossible(f'persistentvolumeclaim "{name}" not found')
        if not claim.spec.volume_name:
            self._check_waits(storage_class_of(claim))
            return ()
        volume = self.cluster.get(core.PersistentVolume, "", claim.spec.volume_name)
        if volume is None:
            raise Impossible(f'persistentvolume "{claim.spec.volume_name}" not found')
        return places_of(volume)

    def _check_waits(self, name: str) -> None:
        """A claim without a volume must be of a class that waits for the pod's node."""
        if not name:
            raise Impossible("PersistentVolumeClaim had no pv name and storageClass name")
        found = self.cluster.get(storage.StorageClass, "", name)
        if found is None:
            raise Impossible(f'storageclass.storage.k8s.io "{name}" not found')
        if found.volume_binding_mode != WAIT_FOR_FIRST_CONSUMER:
            raise Impossible("PersistentVolume had no name")


def _named(pod: PodFacts) -> Iterator[str]:
    """The claims that a pod names. Those that are made for it alone are not looked at, as in Kubernetes."""
    if not pod.claims:
        return iter(())
    sources = (volume.volume_source for volume in pod.pod.spec.volumes)
    return (source.persistent_volume_claim.claim_name for source in sources if source.HasField("persistent_volume_claim"))


def places_of(volume: core.PersistentVolume) -> Places:
    """What a volume's labels ask of nodes. Several places are joined by ``__``; a label that names an empty one is passed over."""
    asked = ((key, _split(volume.metadata.labels[key])) for key in LABELS if key in volume.metadata.labels)
    return tuple((key, places) for key, places in asked if "" not in places)


def _split(value: str) -> tuple[str, ...]:
    return tuple(sorted({place.strip() for place in value.split("__")}))


def is_within(places: Places, node: core.Node) -> bool:
    """Whether a node is in one of the places of each label, or in none whatever."""
    labels = node.metadata.labels
    if not any(key in labels for key in LABELS):
        return True
    return all(labels.get(key, labels.get(_NOW.get(key, key))) in wanted for key, wanted in places)
