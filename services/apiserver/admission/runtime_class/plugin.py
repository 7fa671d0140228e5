"""A pod that names a RuntimeClass has the class's overhead and goes where the class can be had. Specified by Kubernetes' plugin."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import ClassVar

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.node.v1 import node_pb2 as node
from knarr.machinery.catalog import version_of
from knarr.machinery.resources import Resource
from knarr.objects.totals import fill, totals
from services.apiserver.admission.attributes import CREATE, Attributes
from services.apiserver.admission.refusals import refused
from services.apiserver.admission.runtime_class.tolerations import merged
from services.apiserver.backend import Backend
from services.apiserver.results import Ref

PODS, CLASSES = version_of(core.Pod).resource, version_of(node.RuntimeClass)
OTHER_OVERHEAD = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
NO_OVERHEAD = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"


class RuntimeClass:
    """Acts when a pod is created; one that is stored keeps what it has."""

    name: ClassVar[str] = "RuntimeClass"

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == CREATE and resource is PODS and not subresource

    async def mutate(self, attributes: Attributes) -> bool:
        found = await self._class(attributes)
        if found is None:
            return False
        spec, changed = attributes.obj.spec, False
        if found.HasField("overhead"):
            if spec.overhead and totals(spec.overhead) != totals(found.overhead.pod_fixed):
                raise refused(attributes, OTHER_OVERHEAD)
            fill(spec.overhead, totals(found.overhead.pod_fixed))
            changed = True
        if found.HasField("scheduling"):
            _select(attributes, spec.node_selector, found.scheduling.node_selector)
            _tolerate(spec, found.scheduling.tolerations)
            changed = True
        return changed

    async def validate(self, attributes: Attributes) -> None:
        """Looks once more: plugins behind this one may have changed what ``mutate`` saw."""
        overhead = attributes.obj.spec.overhead
        found = await self._class(attributes)
        if found is not None and found.HasField("overhead"):
            if totals(overhead) != totals(found.overhead.pod_fixed):
                raise refused(attributes, OTHER_OVERHEAD)
        elif overhead:
            raise refused(attributes, NO_OVERHEAD)

    async def _class(self, attributes: Attributes) -> node.RuntimeClass | None:
        """The class that the pod names, only to be read; None when it names none. Raises Forbidden when there is none of that name."""
        spec = attributes.obj.spec
        if not spec.HasField("runtime_class_name"):
            return None
        name = spec.runtime_class_name
        entry = await self._backend.current(Ref(CLASSES, name=name), attributes.request.deadline)
        if entry is None:
            raise refused(attributes, f'pod rejected: RuntimeClass "{name}" not found')
        found: node.RuntimeClass = entry.shared_message
        return found


def _select(attributes: Attributes, selector: MutableMapping[str, str], wanted: Mapping[str, str]) -> None:
    """Lets the pod choose only nodes that the class chooses too."""
    for key in sorted(wanted):
        if selector.get(key, wanted[key]) != wanted[key]:
            sides = f"runtimeClass.scheduling.nodeSelector[{key}] = {wanted[key]}; pod.spec.nodeSelector[{key}] = {selector[key]}"
            raise refused(attributes, f"conflict: {sides}")
        selector[key] = wanted[key]


def _tolerate(spec: core.PodSpec, wanted: Sequence[core.Toleration]) -> None:
    kept = merged([*spec.tolerations, *wanted])
    del spec.tolerations[:]
    spec.tolerations.extend(kept)
