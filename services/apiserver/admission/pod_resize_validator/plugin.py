"""A pod does not grow beyond its whole node: what could never be had is refused instead of waited for."""

from __future__ import annotations

from typing import ClassVar

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from knarr.machinery.resources import Resource
from knarr.objects.amounts import CPU, MEMORY, amounts, pod_requests
from services.apiserver.admission.attributes import UPDATE, Attributes
from services.apiserver.admission.refusals import refused
from services.apiserver.backend import Backend
from services.apiserver.results import Ref

PODS, NODES = version_of(core.Pod).resource, version_of(core.Node)
OS_LABEL = "kubernetes.io/os"


class PodResizeValidator:
    name: ClassVar[str] = "PodResizeValidator"

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == UPDATE and resource is PODS and subresource == "resize"

    async def validate(self, attributes: Attributes) -> None:
        pod: core.Pod = attributes.obj
        name = pod.spec.node_name
        if not name or pod.spec == attributes.old.spec:
            return
        entry = await self._backend.current(Ref(NODES, name=name), attributes.request.deadline)
        if entry is None:
            raise refused(attributes, f'node "{name}" not found')
        node: core.Node = entry.shared_message
        wanted, there = pod_requests(pod), amounts(node.status.allocatable)
        lacking = [
            f"{resource}, requested: {wanted.get(resource, 0)}, allocatable: {there.get(resource, 0)}"
            for resource in (CPU, MEMORY)
            if wanted.get(resource, 0) > there.get(resource, 0)
        ]
        if lacking:
            raise refused(attributes, f"Node didn't have enough allocatable resources: {'; '.join(lacking)}")
        system = node.metadata.labels.get(OS_LABEL, "")
        if system != "linux":
            raise refused(attributes, f'pod resize is only supported on linux nodes, node "{name}" is "{system}"')
