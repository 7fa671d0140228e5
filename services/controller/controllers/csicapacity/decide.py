"""How much room drivers have, by class and by part of the cluster, as objects that the scheduler reads. Pure.

Specified by Kubernetes' external provisioner. Each object is named after what it tells of, so it is made once, whoever makes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from knarr.api.csi.v1 import controller_pb2 as pb
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.objects.copies import copy_of
from services.controller.csi.amounts import binary
from services.controller.csi.secrets import PREFIX
from services.controller.csi.topology import Places, Term, segments

NAMESPACE = "kube-system"
# Whose an object is, and that it is kept here: others' are left alone.
DRIVER, KEEPER = "csi.storage.k8s.io/drivername", "csi.storage.k8s.io/managed-by"
US = "knarr-csicapacity"


@dataclass(frozen=True, slots=True)
class Place:
    """A class of a driver, and a part of the cluster; an empty one is all of it."""

    found: storage.StorageClass
    term: Term

    @property
    def name(self) -> str:
        text = "\0".join([self.found.provisioner, self.found.metadata.name, *(part for pair in self.term for part in pair)])
        return f"csisc-{sha256(text.encode()).hexdigest()[:20]}"


def places(driver: str, classes: Iterable[storage.StorageClass], known: Places, *, topology: bool) -> list[Place]:
    """What there is to tell about a driver."""
    terms = segments(driver, known) if topology else [()]
    return [Place(found, term) for found in classes if found.provisioner == driver for term in terms]


def request(place: Place) -> pb.GetCapacityRequest:
    asked = pb.GetCapacityRequest()
    asked.parameters.update({key: value for key, value in place.found.parameters.items() if not key.startswith(PREFIX)})
    if place.term:
        asked.accessible_topology.segments.update(dict(place.term))
    return asked


def told(place: Place, answer: pb.GetCapacityResponse, before: storage.CSIStorageCapacity | None) -> storage.CSIStorageCapacity | None:
    """The object as it is to be; None where it is."""
    made = copy_of(before) if before is not None else storage.CSIStorageCapacity(storage_class_name=place.found.metadata.name)
    if before is None:
        made.metadata.name, made.metadata.namespace = place.name, NAMESPACE
        made.metadata.labels.update({DRIVER: place.found.provisioner, KEEPER: US})
        made.node_topology.match_labels.update(dict(place.term))
        made.node_topology.SetInParent()
    made.capacity.string = binary(answer.available_capacity)
    made.ClearField("maximum_volume_size")
    if answer.HasField("maximum_volume_size"):
        made.maximum_volume_size.string = binary(answer.maximum_volume_size.value)
    return None if made == before else made


def stale(there: Iterable[storage.CSIStorageCapacity], driver: str, wanted: Mapping[str, Place]) -> list[storage.CSIStorageCapacity]:
    """Those kept here of a driver that tell of what there is no more."""
    return [found for found in there if is_ours(found, driver) and found.metadata.name not in wanted]


def is_ours(found: storage.CSIStorageCapacity, driver: str) -> bool:
    labels = found.metadata.labels
    return found.metadata.namespace == NAMESPACE and labels.get(KEEPER) == US and labels.get(DRIVER) == driver
