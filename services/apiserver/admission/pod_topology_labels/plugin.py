"""A pod that gets its node gets the zone and region of the node too, as labels: what runs in it may ask for them."""

from __future__ import annotations

from typing import ClassVar

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from knarr.machinery.resources import Resource
from services.apiserver.admission.attributes import CREATE, Attributes
from services.apiserver.backend import Backend

PODS, NODES = version_of(core.Pod).resource, version_of(core.Node).resource
COPIED = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")


class PodTopologyLabels:
    """Written into the Binding, whose labels the pod takes over, or into a pod that is created with its node."""

    name: ClassVar[str] = "PodTopologyLabels"

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == CREATE and resource is PODS and subresource in ("", "binding")

    async def mutate(self, attributes: Attributes) -> bool:
        obj = attributes.obj
        name = obj.target.name if attributes.subresource else obj.spec.node_name
        entry = self._backend.cached(NODES, "", name) if name else None
        if entry is None or (attributes.subresource and obj.target.kind not in ("", "Node")):
            return False
        missing = {key: entry.labels[key] for key in COPIED if key in entry.labels and key not in obj.metadata.labels}
        obj.metadata.labels.update(missing)
        return bool(missing)
