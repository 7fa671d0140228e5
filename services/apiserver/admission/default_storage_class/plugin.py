"""A claim that names no class gets the default one, if there is one; of several the youngest, as in Kubernetes."""

from __future__ import annotations

from typing import ClassVar

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.machinery.catalog import version_of
from knarr.machinery.resources import Resource
from knarr.objects.volumes import BETA_DEFAULT_CLASS, CLASS_ANNOTATION, DEFAULT_CLASS
from services.apiserver.admission.attributes import CREATE, Attributes
from services.apiserver.admission.defaults import default_of
from services.apiserver.backend import Backend

CLAIMS, CLASSES = version_of(core.PersistentVolumeClaim).resource, version_of(storage.StorageClass).resource


class DefaultStorageClass:
    name: ClassVar[str] = "DefaultStorageClass"

    def __init__(self, backend: Backend) -> None:
        self._cache = backend.cache

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == CREATE and resource is CLAIMS and not subresource

    async def mutate(self, attributes: Attributes) -> bool:
        """An empty class is a class: it asks for a volume without one."""
        claim: core.PersistentVolumeClaim = attributes.obj
        if claim.spec.HasField("storage_class_name") or CLASS_ANNOTATION in claim.metadata.annotations:
            return False
        found = default_of(self._cache, CLASSES, DEFAULT_CLASS, BETA_DEFAULT_CLASS)
        if not found:
            return False
        claim.spec.storage_class_name = found
        return True
