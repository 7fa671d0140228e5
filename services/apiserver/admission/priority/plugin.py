"""A pod gets the priority of its class, and a cluster has one class for those that name none. Specified by Kubernetes' plugin."""

from __future__ import annotations

from typing import ClassVar

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.scheduling.v1 import scheduling_pb2 as scheduling
from knarr.machinery.catalog import version_of
from knarr.machinery.resources import Resource
from services.apiserver.admission.attributes import CREATE, UPDATE, Attributes
from services.apiserver.admission.refusals import refused
from services.apiserver.backend import Backend
from services.apiserver.results import Ref
from services.apiserver.storage.keys import collection_prefix
from services.apiserver.strategies.priorityclass import PREEMPTS, system_classes

POD, CLASS = version_of(core.Pod), version_of(scheduling.PriorityClass)
# Of a pod that names no class where none is the default.
PLAIN = scheduling.PriorityClass(preemption_policy=PREEMPTS)
# They are what they are also before the first of them is stored.
SYSTEM = {found.metadata.name: found for found in system_classes()}
GIVEN = "must not be provided in pod spec; priority admission controller computed"


class Priority:
    """Acts when a pod is created; one that is stored keeps what it has, whatever becomes of its class."""

    name: ClassVar[str] = "Priority"

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        if subresource:
            return False
        return (operation == CREATE and resource is POD.resource) or (operation in (CREATE, UPDATE) and resource is CLASS.resource)

    async def mutate(self, attributes: Attributes) -> bool:
        if attributes.resource is not POD.resource:
            return False
        spec: core.PodSpec = attributes.obj.spec
        found = await self._class(attributes, spec.priority_class_name)
        if spec.HasField("priority") and spec.priority != found.value:
            detail = f"the integer value of priority ({spec.priority}) {GIVEN} {found.value} from the given PriorityClass name"
            raise refused(attributes, detail)
        policy = found.preemption_policy or PREEMPTS
        if spec.HasField("preemption_policy") and spec.preemption_policy != policy:
            detail = f"the string value of PreemptionPolicy ({spec.preemption_policy}) {GIVEN} {policy} from the given PriorityClass name"
            raise refused(attributes, detail)
        spec.priority_class_name, spec.priority, spec.preemption_policy = found.metadata.name, found.value, policy
        return True

    async def validate(self, attributes: Attributes) -> None:
        if attributes.resource is not CLASS.resource or not attributes.obj.global_default:
            return
        other = self._default()
        if other is not None and (attributes.operation == CREATE or other.metadata.name != attributes.name):
            detail = f"PriorityClass {other.metadata.name} is already marked as default. Only one default can exist"
            raise refused(attributes, detail)

    async def _class(self, attributes: Attributes, name: str) -> scheduling.PriorityClass:
        """The class of that name, only to be read; Forbidden when there is none. For no name the default one."""
        if not name:
            return self._default() or PLAIN
        entry = await self._backend.current(Ref(CLASS, name=name), attributes.request.deadline)
        found = SYSTEM.get(name) if entry is None else entry.shared_message
        if found is None:
            raise refused(attributes, f"no PriorityClass with name {name} was found")
        return found

    def _default(self) -> scheduling.PriorityClass | None:
        """Two servers may have let in one each at the same moment: then the lowest one counts."""
        entries = self._backend.cache.collection(CLASS.resource).listing(collection_prefix(CLASS.resource))
        defaults = [entry.shared_message for entry in entries if entry.shared_message.global_default]
        return min(defaults, key=lambda found: found.value, default=None)
