"""Only a claim that has its volume grows, and only where its class says that volumes can."""

from __future__ import annotations

from typing import ClassVar

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.machinery.catalog import version_of
from knarr.machinery.resources import Resource
from knarr.objects.totals import exactly
from knarr.objects.volumes import storage_class_of
from services.apiserver.admission.attributes import UPDATE, Attributes
from services.apiserver.admission.refusals import refused
from services.apiserver.backend import Backend
from services.apiserver.results import Ref

CLAIMS, CLASSES = version_of(core.PersistentVolumeClaim).resource, version_of(storage.StorageClass)
BOUND, STORAGE, NOTHING = "Bound", "storage", meta.Quantity()
FIXED = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"


class PersistentVolumeClaimResize:
    name: ClassVar[str] = "PersistentVolumeClaimResize"

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == UPDATE and resource is CLAIMS and not subresource

    async def validate(self, attributes: Attributes) -> None:
        new, old = attributes.obj, attributes.old
        wanted, former = (exactly(claim.spec.resources.requests.get(STORAGE, NOTHING)).value for claim in (new, old))
        if wanted <= former:
            return
        if old.status.phase != BOUND:
            raise refused(attributes, "Only bound persistent volume claims can be expanded")
        name = storage_class_of(new)
        entry = await self._backend.current(Ref(CLASSES, name=name), attributes.request.deadline) if name else None
        if entry is None or name != storage_class_of(old) or not entry.shared_message.allow_volume_expansion:
            raise refused(attributes, FIXED)
