"""Parts of objects that plugins depend on, named by field paths and checked against the contracts."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.api.storage.v1 import storage_pb2 as storage


class Subject(Enum):
    """The kind of object that a part belongs to, in its role."""

    # The pod that is to be placed.
    POD = "pod"
    # The pods that are counted on nodes.
    PLACED = "placed pods"
    NODE = "node"
    SERVICE = "service"
    CLAIM = "claim"
    VOLUME = "volume"
    STORAGE_CLASS = "storage class"
    CSI_NODE = "CSI node"
    CSI_DRIVER = "CSI driver"
    STORAGE_CAPACITY = "storage capacity"
    NAMESPACE = "namespace"
    DEVICE_CLAIM = "claim to devices"
    DEVICE_CLASS = "device class"
    DEVICE_TAINT_RULE = "device taint rule"
    RESOURCE_SLICE = "resource slice"

    @property
    def message(self) -> type[Message]:
        """The type of the objects."""
        return _MESSAGES[self]


_MESSAGES: dict[Subject, type[Message]] = {
    Subject.POD: core.Pod,
    Subject.PLACED: core.Pod,
    Subject.NODE: core.Node,
    Subject.SERVICE: core.Service,
    Subject.CLAIM: core.PersistentVolumeClaim,
    Subject.VOLUME: core.PersistentVolume,
    Subject.STORAGE_CLASS: storage.StorageClass,
    Subject.CSI_NODE: storage.CSINode,
    Subject.CSI_DRIVER: storage.CSIDriver,
    Subject.STORAGE_CAPACITY: storage.CSIStorageCapacity,
    Subject.NAMESPACE: core.Namespace,
    Subject.DEVICE_CLAIM: resource.ResourceClaim,
    Subject.DEVICE_CLASS: resource.DeviceClass,
    Subject.DEVICE_TAINT_RULE: resource.DeviceTaintRule,
    Subject.RESOURCE_SLICE: resource.ResourceSlice,
}


@dataclass(frozen=True, slots=True)
class Part:
    """One field of an object with all that is below it: ``Part(Subject.NODE, "status.images")``.

    ``path`` is written as in the API (``status.nodeInfo.kernelVersion``); ValueError when there is no such field.
    """

    subject: Subject
    path: str
    # The path in Python's names.
    attribute: str = field(init=False, repr=False, compare=False)
    _value: Callable[[Any], Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "attribute", _python_path(self.subject.message, self.path))
        object.__setattr__(self, "_value", operator.attrgetter(self.attribute))

    def of(self, obj: Message) -> Any:
        """What an object has there."""
        return self._value(obj)


def differing(parts: frozenset[Part], old: Message, new: Message) -> frozenset[Part]:
    """The parts in which two objects differ."""
    # Most often nothing does, and that is told by one comparison.
    values = _values(parts)
    if values(old) == values(new):
        return frozenset()
    return frozenset(part for part in parts if part.of(old) != part.of(new))


@functools.cache
def _values(parts: frozenset[Part]) -> Callable[[Any], Any]:
    attributes = sorted(part.attribute for part in parts)
    return operator.attrgetter(*attributes) if attributes else lambda _: None


def _python_path(message: type[Message], path: str) -> str:
    descriptor: Any = message.DESCRIPTOR
    names = []
    for name in path.split("."):
        found = None if descriptor is None else next((one for one in descriptor.fields if one.json_name == name), None)
        if found is None:
            raise ValueError(f"{message.DESCRIPTOR.name} has no field {path!r}")
        names.append(found.name)
        # Below a list or a map there is no single field to name.
        descriptor = None if found.is_repeated else found.message_type
    return ".".join(names)


NODE_NAME = Part(Subject.NODE, "metadata.name")
NODE_LABELS = Part(Subject.NODE, "metadata.labels")
NODE_TAINTS = Part(Subject.NODE, "spec.taints")
NODE_UNSCHEDULABLE = Part(Subject.NODE, "spec.unschedulable")
NODE_ALLOCATABLE = Part(Subject.NODE, "status.allocatable")
