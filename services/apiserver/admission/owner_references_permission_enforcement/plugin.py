"""Who changes owners may delete what is owned, and who keeps an owner from being deleted may set its finalizers.

Off unless it is turned on, as in Kubernetes, whose plugin specifies it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.catalog import version_of
from knarr.machinery.resources import Resource
from services.apiserver.admission.attributes import CREATE, UPDATE, Attributes
from services.apiserver.admission.permission import may
from services.apiserver.admission.refusals import refused
from services.apiserver.authorization import ALLOW_AUTHENTICATED, Authorizer
from services.apiserver.backend import Backend
from services.apiserver.results import Ref

PODS = version_of(core.Pod).resource
NO_DELETE = "cannot set an ownerRef on a resource you can't delete: , <nil>"
NO_FINALIZERS = "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>"


class OwnerReferencesPermissionEnforcement:
    name: ClassVar[str] = "OwnerReferencesPermissionEnforcement"

    def __init__(self, backend: Backend, *, authorizer: Authorizer = ALLOW_AUTHENTICATED) -> None:
        self._registry, self._authorizer = backend.cache.registry, authorizer

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        """A status write never changes a pod's owners."""
        return operation in (CREATE, UPDATE) and (resource, subresource) != (PODS, "status")

    async def validate(self, attributes: Attributes) -> None:
        new = _owners(attributes.obj)
        old = _owners(attributes.old) if attributes.old is not None else []
        if list(new) == list(old):
            return
        if attributes.operation != CREATE:
            ref = attributes.request.ref
            if not await may(self._authorizer, attributes, "delete", Ref(ref.version, ref.namespace, attributes.name, ref.subresource)):
                raise refused(attributes, NO_DELETE)
        blocked = {owner.uid for owner in old if owner.block_owner_deletion}
        for owner in new:
            if not owner.block_owner_deletion or owner.uid in blocked:
                continue
            if not await may(self._authorizer, attributes, "update", self._finalizers_of(attributes, owner)):
                raise refused(attributes, NO_FINALIZERS)

    def _finalizers_of(self, attributes: Attributes, owner: meta.OwnerReference) -> Ref:
        """An owner in a namespace is in that of what it owns. Raises Forbidden for a kind that is not served."""
        group, _, version = owner.api_version.rpartition("/")
        found = self._registry.named(group, version, owner.kind)
        if found is None:
            of_kind = f"APIVersion {owner.api_version} Kind {owner.kind}"
            why = f'no matches for kind "{owner.kind}" in version "{owner.api_version}"'
            raise refused(attributes, f"cannot set blockOwnerDeletion in this case because cannot find RESTMapping for {of_kind}: {why}")
        return Ref(found, attributes.namespace if found.resource.namespaced else "", owner.name, "finalizers")


def _owners(obj: object) -> Sequence[meta.OwnerReference]:
    """None of what has no metadata: options, or what is posted to a sub-resource."""
    metadata = getattr(obj, "metadata", None)
    return metadata.owner_references if metadata is not None else ()
