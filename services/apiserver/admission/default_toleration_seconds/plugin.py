"""Pods stay on a node that is lost for five minutes, unless they say otherwise."""

from __future__ import annotations

from typing import ClassVar

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from knarr.machinery.resources import Resource
from knarr.objects.tolerations import NO_EXECUTE, NOT_READY, UNREACHABLE
from services.apiserver.admission.attributes import CREATE, UPDATE, Attributes
from services.apiserver.backend import Backend

PODS = version_of(core.Pod).resource
TOLERATED_SECONDS = 300


class DefaultTolerationSeconds:
    """Also of a pod that is changed: a manifest that is sent again does not know what was added."""

    name: ClassVar[str] = "DefaultTolerationSeconds"

    def __init__(self, backend: Backend) -> None:
        pass

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation in (CREATE, UPDATE) and resource is PODS and not subresource

    async def mutate(self, attributes: Attributes) -> bool:
        tolerations, changed = attributes.obj.spec.tolerations, False
        for key in (NOT_READY, UNREACHABLE):
            if not any(found.key in ("", key) and found.effect in ("", NO_EXECUTE) for found in tolerations):
                tolerations.add(key=key, operator="Exists", effect=NO_EXECUTE, toleration_seconds=TOLERATED_SECONDS)
                changed = True
        return changed
