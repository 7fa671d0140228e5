"""A node has no more volumes of a CSI driver than the driver says that it can have.

Volumes count once, however many pods of a node use them. A claim that has no volume yet counts as one of its class's driver.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import ClassVar

import numpy as np

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.objects.csi import source_of
from knarr.objects.volumes import storage_class_of
from services.scheduler.nodes import Mask, Nodes
from services.scheduler.parts import NODE_NAME, Part, Subject
from services.scheduler.plugin import Plugin
from services.scheduler.pod_facts import PodFacts, facts_of

TOO_MANY = "node(s) exceed max volume count"
# A driver, and what it calls a volume; of one that is not made yet, the claim.
Held = tuple[str, str]


class VolumeLimits(Plugin):
    name: ClassVar[str] = "NodeVolumeLimits"
    concerned_by: ClassVar[frozenset[str]] = frozenset({"claims"})
    reads: ClassVar[frozenset[Part]] = (facts_of(Subject.POD, "claims") | facts_of(Subject.PLACED, "claims")).union(
        {
            NODE_NAME,
            Part(Subject.CLAIM, "spec"),
            Part(Subject.CLAIM, "metadata.annotations"),
            Part(Subject.VOLUME, "spec.persistentVolumeSource"),
            Part(Subject.STORAGE_CLASS, "provisioner"),
            Part(Subject.CSI_NODE, "spec.drivers"),
        }
    )

    def indifferent(self, pod: PodFacts, nodes: Nodes) -> bool:
        return next(iter(self._volumes(pod)), None) is None

    def filter(self, pod: PodFacts, nodes: Nodes) -> Mask | None:
        wanted = frozenset(self._volumes(pod))
        if not wanted:
            return None
        mask = np.ones(nodes.size, np.bool_)
        for told in self.cluster.list(storage.CSINode):
            limits = _limits(told, wanted)
            row = nodes.rows.get(told.metadata.name) if limits else None
            if row is not None:
                mask[row] = self._fits(wanted, nodes.pods_on(row).values(), limits)
        return mask

    def accepts(self, pod: PodFacts, nodes: Nodes, row: int) -> bool:
        wanted = frozenset(self._volumes(pod))
        told = self.cluster.get(storage.CSINode, "", nodes.node(row).metadata.name) if wanted else None
        return told is None or self._fits(wanted, nodes.pods_on(row).values(), _limits(told, wanted))

    def reasons(self, pod: PodFacts, nodes: Nodes, row: int) -> list[str]:
        return [TOO_MANY]

    def _fits(self, wanted: frozenset[Held], placed: Collection[PodFacts], limits: Mapping[str, int]) -> bool:
        new = Counter(driver for driver, _ in wanted)
        # So many claims at most have a volume of a driver: most often that is few enough, whatever they are.
        most = sum(len(other.claims) for other in placed)
        if all(most + count <= limits[driver] for driver, count in new.items() if driver in limits):
            return True
        there = {held for other in placed for held in self._volumes(other)}
        new = Counter(driver for driver, _ in wanted - there)
        had = Counter(driver for driver, _ in there)
        return all(had[driver] + count <= limits[driver] for driver, count in new.items() if driver in limits)

    def _volumes(self, pod: PodFacts) -> Iterator[Held]:
        """The volumes of drivers that a pod uses. What is not known is nothing: others say why such a pod must wait."""
        for name in pod.claims:
            claim = self.cluster.get(core.PersistentVolumeClaim, pod.key.namespace, name)
            if claim is None:
                continue
            volume = self.cluster.get(core.PersistentVolume, "", claim.spec.volume_name) if claim.spec.volume_name else None
            source = None if volume is None else source_of(volume)
            if source is not None:
                yield source.driver, source.volume_handle
            elif volume is None and (of := storage_class_of(claim)):
                found = self.cluster.get(storage.StorageClass, "", of)
                if found is not None and found.provisioner:
                    yield found.provisioner, f"{pod.key.namespace}/{name}"


def _limits(told: storage.CSINode, wanted: frozenset[Held]) -> Mapping[str, int]:
    """How many volumes a node can have, by the drivers of those that are wanted, as far as they say."""
    drivers = {driver for driver, _ in wanted}
    return {one.name: one.allocatable.count for one in told.spec.drivers if one.name in drivers and one.allocatable.HasField("count")}
