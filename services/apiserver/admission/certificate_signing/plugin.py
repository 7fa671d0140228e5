"""Who gives somebody his certificate, or says why not, may sign for the signer."""

from __future__ import annotations

from typing import ClassVar

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.machinery.catalog import version_of
from knarr.machinery.resources import Resource
from services.apiserver.admission.attributes import UPDATE, Attributes
from services.apiserver.admission.permission import may_for_signer
from services.apiserver.admission.refusals import refused
from services.apiserver.authorization import ALLOW_AUTHENTICATED, Authorizer
from services.apiserver.backend import Backend

REQUESTS = version_of(certificates.CertificateSigningRequest).resource


class CertificateSigning:
    name: ClassVar[str] = "CertificateSigning"

    def __init__(self, backend: Backend, *, authorizer: Authorizer = ALLOW_AUTHENTICATED) -> None:
        self._authorizer = authorizer

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == UPDATE and resource is REQUESTS and subresource == "status"

    async def validate(self, attributes: Attributes) -> None:
        new, old, signer = attributes.obj.status, attributes.old.status, attributes.old.spec.signer_name
        if new.certificate == old.certificate and list(new.conditions) == list(old.conditions):
            return
        if not await may_for_signer(self._authorizer, attributes, "sign", signer):
            raise refused(attributes, f'user not permitted to sign requests with signerName "{signer}"')
