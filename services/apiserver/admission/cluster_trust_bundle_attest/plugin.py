"""Who says whose certificates a signer's are may attest for that signer."""

from __future__ import annotations

from typing import Any, ClassVar

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.machinery.catalog import version_of
from knarr.machinery.resources import Resource
from knarr.objects.copies import copy_of
from services.apiserver.admission.attributes import CREATE, UPDATE, Attributes
from services.apiserver.admission.permission import may_for_signer
from services.apiserver.admission.refusals import refused
from services.apiserver.authorization import ALLOW_AUTHENTICATED, Authorizer
from services.apiserver.backend import Backend

BUNDLES = version_of(certificates.ClusterTrustBundle).resource
# What the garbage collector, and whoever rewrites what is stored, may change.
OF_COLLECTION = ("owner_references", "finalizers", "managed_fields", "resource_version", "generation")


class ClusterTrustBundleAttest:
    name: ClassVar[str] = "ClusterTrustBundleAttest"

    def __init__(self, backend: Backend, *, authorizer: Authorizer = ALLOW_AUTHENTICATED) -> None:
        self._authorizer = authorizer

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation in (CREATE, UPDATE) and resource is BUNDLES and not subresource

    async def validate(self, attributes: Attributes) -> None:
        signer = attributes.obj.spec.signer_name
        if not signer or (attributes.old is not None and _meaning(attributes.obj) == _meaning(attributes.old)):
            return
        if not await may_for_signer(self._authorizer, attributes, "attest", signer):
            raise refused(attributes, f'user not permitted to attest for signerName "{signer}"')


def _meaning(bundle: Any) -> Any:
    found = copy_of(bundle)
    for field in OF_COLLECTION:
        found.metadata.ClearField(field)
    return found
