"""A volume, or a claim, that is deleted stays until nobody uses it: its finalizer goes when its controller sees that."""

from __future__ import annotations

from typing import ClassVar

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from knarr.machinery.resources import Resource
from knarr.objects.volumes import CLAIM_PROTECTION, VOLUME_PROTECTION
from services.apiserver.admission.attributes import CREATE, Attributes
from services.apiserver.backend import Backend

FINALIZERS = {
    version_of(core.PersistentVolume).resource: VOLUME_PROTECTION,
    version_of(core.PersistentVolumeClaim).resource: CLAIM_PROTECTION,
}


class StorageObjectInUseProtection:
    name: ClassVar[str] = "StorageObjectInUseProtection"

    def __init__(self, backend: Backend) -> None:
        pass

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == CREATE and resource in FINALIZERS and not subresource

    async def mutate(self, attributes: Attributes) -> bool:
        finalizers, wanted = attributes.obj.metadata.finalizers, FINALIZERS[attributes.resource]
        if wanted in finalizers:
            return False
        finalizers.append(wanted)
        return True
