"""Where a driver has room for one more volume, as far as it tells: by CSIStorageCapacity, for drivers that say that they write it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.machinery.quantity import Quantity
from knarr.machinery.selectors import Selector, stored_label_selector
from knarr.objects.binding import wanted_storage
from knarr.objects.totals import exactly
from services.scheduler.plugin import Cluster
from services.scheduler.plugins.volumebinding.claims import Unbound


@dataclass(frozen=True)
class Room:
    """The parts of the cluster in which there is enough; none: nowhere. ``key``: equal for equal parts.

    A driver of disks in nodes tells of a place for each node: they are looked up, not tried one after the other.
    """

    places: Sequence[meta.LabelSelector]

    @property
    def key(self) -> bytes:
        return hashlib.sha256(b"\0".join(place.SerializeToString(deterministic=True) for place in self.places)).digest()

    @cached_property
    def by_labels(self) -> dict[tuple[str, ...], set[tuple[str, ...]]]:
        """Of the places that labels alone say: their values, by the labels."""
        found = defaultdict[tuple[str, ...], set[tuple[str, ...]]](set)
        for place in self.places:
            if not place.match_expressions:
                labels = sorted(place.match_labels.items())
                found[tuple(label for label, _ in labels)].add(tuple(value for _, value in labels))
        return found

    @cached_property
    def others(self) -> Sequence[Selector]:
        return [stored_label_selector(place) for place in self.places if place.match_expressions]


def room_for(wanted: Unbound, cluster: Cluster) -> Room | None:
    """None where the driver does not tell: it has room as long as it does not say otherwise."""
    driver = cluster.get(storage.CSIDriver, "", wanted.found.provisioner)
    if driver is None or not driver.spec.storage_capacity:
        return None
    least = wanted_storage(wanted.claim)
    told = [found for found in cluster.list(storage.CSIStorageCapacity) if found.storage_class_name == wanted.found.metadata.name]
    # A capacity without a place is told of nowhere, as in Kubernetes.
    return Room([found.node_topology for found in told if found.HasField("node_topology") and not least > _largest(found)])


def has_room(room: Room, node: core.Node) -> bool:
    labels = dict(node.metadata.labels)
    return any(tuple(map(labels.get, keys)) in values for keys, values in room.by_labels.items()) or any(
        place.matches(labels) for place in room.others
    )


def _largest(found: storage.CSIStorageCapacity) -> Quantity:
    """The largest volume that can be made, where that is told; else all that there is."""
    return exactly(found.maximum_volume_size if found.HasField("maximum_volume_size") else found.capacity)
