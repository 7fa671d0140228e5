"""Extended resources that classes of devices stand for: a node that does not offer one by itself may have devices for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.machinery import quantity
from knarr.objects.devices import CLASS_PREFIX
from services.scheduler.parts import Part, Subject
from services.scheduler.plugin import Cluster
from services.scheduler.pod_facts import PodFacts

# What ``backing`` goes by.
BACKED_BY = frozenset(Part(Subject.DEVICE_CLASS, path) for path in ("spec.extendedResourceName", "metadata.creationTimestamp"))


def resources_of(found: resource.DeviceClass) -> tuple[str, ...]:
    """The resources that a class stands for."""
    return tuple(filter(None, (found.spec.extended_resource_name, CLASS_PREFIX + found.metadata.name)))


def backing(pod: PodFacts, cluster: Cluster) -> Mapping[str, str]:
    """By the extended resources that a pod asks for the classes that stand for them. Of several the newest does, of those of one second the
    first by name."""
    if not pod.extended:
        return {}
    classes = sorted(cluster.list(resource.DeviceClass), key=lambda one: (-one.metadata.creation_timestamp.seconds, one.metadata.name))
    found: dict[str, str] = {}
    for one in classes:
        for name in resources_of(one):
            if name in pod.extended:
                found.setdefault(name, one.metadata.name)
    return found


def offers(node: Any, name: str) -> bool:
    """Whether a node has something of a resource by itself, taken or not."""
    allocatable = node.status.allocatable
    return name in allocatable and quantity.value(allocatable[name].string) > 0
