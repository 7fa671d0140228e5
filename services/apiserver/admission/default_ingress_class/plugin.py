"""An Ingress that names no class gets the default one, if there is one; of several the youngest, as in Kubernetes."""

from __future__ import annotations

from typing import ClassVar

from knarr.api.networking.v1 import networking_pb2 as networking
from knarr.machinery.catalog import version_of
from knarr.machinery.resources import Resource
from services.apiserver.admission.attributes import CREATE, Attributes
from services.apiserver.admission.defaults import default_of
from services.apiserver.backend import Backend
from services.apiserver.strategies.ingress import CLASS_ANNOTATION

INGRESSES, CLASSES = version_of(networking.Ingress).resource, version_of(networking.IngressClass).resource
DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"


class DefaultIngressClass:
    name: ClassVar[str] = "DefaultIngressClass"

    def __init__(self, backend: Backend) -> None:
        self._cache = backend.cache

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == CREATE and resource is INGRESSES and not subresource

    async def mutate(self, attributes: Attributes) -> bool:
        ingress: networking.Ingress = attributes.obj
        if ingress.spec.HasField("ingress_class_name") or CLASS_ANNOTATION in ingress.metadata.annotations:
            return False
        found = default_of(self._cache, CLASSES, DEFAULT_CLASS)
        if not found:
            return False
        ingress.spec.ingress_class_name = found
        return True
