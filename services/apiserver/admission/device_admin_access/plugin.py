"""Who looks at devices that are others' does so in a namespace that an administrator has marked for that."""

from __future__ import annotations

from typing import Any, ClassVar

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import Cause, invalid
from knarr.machinery.resources import Resource
from knarr.machinery.validation import Path, forbidden
from knarr.objects.devices import ADMIN_ACCESS
from services.apiserver.admission.attributes import CREATE, UPDATE, Attributes
from services.apiserver.backend import Backend
from services.apiserver.results import Ref

NAMESPACES = version_of(core.Namespace)
CLAIMS, TEMPLATES = version_of(resource.ResourceClaim), version_of(resource.ResourceClaimTemplate)
WORDS = f"admin access to devices requires the `{ADMIN_ACCESS}: true` label on the containing namespace"
REQUESTS, RESULTS = Path("spec").child("devices", "requests"), Path("status").child("allocation", "devices", "results")


class DeviceAdminAccess:
    """What is asked for never changes, so it is judged when it is made; what a claim is given, when it is given."""

    name: ClassVar[str] = "DeviceAdminAccess"

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        if resource is TEMPLATES.resource:
            return operation == CREATE and not subresource
        return resource is CLAIMS.resource and (operation, subresource) in ((CREATE, ""), (UPDATE, "status"))

    async def validate(self, attributes: Attributes) -> None:
        cause = _asked(attributes.obj) if attributes.operation == CREATE else _given(attributes.obj, attributes.old)
        if cause is None:
            return
        entry = await self._backend.current(Ref(NAMESPACES, name=attributes.namespace), attributes.request.deadline)
        if entry is None or entry.labels.get(ADMIN_ACCESS) != "true":
            raise invalid(CLAIMS.kind if attributes.resource is CLAIMS.resource else TEMPLATES.kind, attributes.name, [cause], CLAIMS.group)


def _asked(obj: Any) -> Cause | None:
    spec, requests = (obj.spec, REQUESTS) if isinstance(obj, resource.ResourceClaim) else (obj.spec.spec, Path(f"spec.{REQUESTS}"))
    for index, request in enumerate(spec.devices.requests):
        if request.exactly.admin_access:
            return forbidden(requests.index(index).child("adminAccess"), WORDS)
    return None


def _given(new: resource.ResourceClaim, old: resource.ResourceClaim) -> Cause | None:
    if any(result.admin_access for result in old.status.allocation.devices.results):
        return None
    for index, result in enumerate(new.status.allocation.devices.results):
        if result.admin_access:
            return forbidden(RESULTS.index(index).child("adminAccess"), WORDS)
    return None
