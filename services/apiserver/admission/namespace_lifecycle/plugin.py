"""Nothing is created in a namespace that is missing or going; the namespaces of the system stay."""

from __future__ import annotations

from typing import ClassVar

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import forbidden, not_found
from knarr.objects.keys import is_deleting
from services.apiserver.admission.plugin import CREATE, DELETE, Admission
from services.apiserver.results import Ref

IMMORTAL = frozenset({"default", "kube-system", "kube-public"})
NAMESPACE = version_of(core.Namespace)


class NamespaceLifecycle:
    operations: ClassVar[frozenset[str]] = frozenset({CREATE, DELETE})

    async def admit(self, admission: Admission) -> None:
        ref = admission.ref
        if admission.operation == DELETE:
            if ref.version is NAMESPACE and ref.name in IMMORTAL:
                raise forbidden("namespaces", ref.name, "this namespace may not be deleted")
            return
        if not ref.resource.namespaced:
            return
        namespace = await admission.backend.current(Ref(NAMESPACE, name=ref.namespace))
        if namespace is None:
            raise not_found("namespaces", ref.namespace)
        if is_deleting(namespace.shared_message):
            detail = f"unable to create new content in namespace {ref.namespace} because it is being terminated"
            error = forbidden(ref.resource.plural, admission.obj.metadata.name, detail, ref.version.group)
            error.status.details.causes.add(
                reason="NamespaceTerminating", message=f"namespace {ref.namespace} is being terminated", field="metadata.namespace"
            )
            raise error
