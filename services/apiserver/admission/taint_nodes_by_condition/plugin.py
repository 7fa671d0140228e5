"""A node begins with the taint of one that is not ready: no pod is placed on it before it is seen to be. A controller lifts it."""

from __future__ import annotations

from typing import ClassVar

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from knarr.machinery.resources import Resource
from knarr.objects.tolerations import NO_SCHEDULE, NOT_READY
from services.apiserver.admission.attributes import CREATE, Attributes
from services.apiserver.backend import Backend

NODES = version_of(core.Node).resource


class TaintNodesByCondition:
    name: ClassVar[str] = "TaintNodesByCondition"

    def __init__(self, backend: Backend) -> None:
        pass

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == CREATE and resource is NODES and not subresource

    async def mutate(self, attributes: Attributes) -> bool:
        taints = attributes.obj.spec.taints
        if any(taint.key == NOT_READY and taint.effect == NO_SCHEDULE for taint in taints):
            return False
        taints.add(key=NOT_READY, effect=NO_SCHEDULE)
        return True
