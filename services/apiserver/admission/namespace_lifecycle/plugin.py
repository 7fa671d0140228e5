"""Nothing is created in a namespace that is missing or going; the namespaces of the system stay."""

from __future__ import annotations

from typing import ClassVar

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import forbidden, not_found
from knarr.machinery.resources import Resource
from knarr.objects.keys import is_deleting
from services.apiserver.admission.attributes import CREATE, DELETE, Attributes
from services.apiserver.backend import Backend
from services.apiserver.results import Ref

IMMORTAL = frozenset({"default", "kube-system", "kube-public"})
NAMESPACE = version_of(core.Namespace)


class NamespaceLifecycle:
    """Comes in the first phase, as in Kubernetes: whoever errs in the namespace hears that, and not what else is wrong."""

    name: ClassVar[str] = "NamespaceLifecycle"

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return (operation == CREATE and resource.namespaced) or (operation == DELETE and resource is NAMESPACE.resource)

    async def mutate(self, attributes: Attributes) -> bool:
        if attributes.operation == DELETE:
            if attributes.name in IMMORTAL:
                raise forbidden("namespaces", attributes.name, "this namespace may not be deleted")
            return False
        backend, name = self._backend, attributes.namespace
        # Mostly it is there, and nothing is to be waited for.
        namespace = backend.cached(NAMESPACE.resource, "", name) or await backend.current(Ref(NAMESPACE, name=name))
        if namespace is None:
            raise not_found("namespaces", attributes.namespace)
        if is_deleting(namespace.shared_message):
            raise _going(attributes)
        return False


def _going(attributes: Attributes) -> Exception:
    namespace, ref = attributes.namespace, attributes.request.ref
    detail = f"unable to create new content in namespace {namespace} because it is being terminated"
    error = forbidden(ref.resource.plural, attributes.name, detail, ref.version.group)
    error.status.details.causes.add(
        reason="NamespaceTerminating", message=f"namespace {namespace} is being terminated", field="metadata.namespace"
    )
    return error
