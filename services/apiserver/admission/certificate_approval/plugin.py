"""Who approves or denies a request for a certificate may do so for its signer."""

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


class CertificateApproval:
    name: ClassVar[str] = "CertificateApproval"

    def __init__(self, backend: Backend, *, authorizer: Authorizer = ALLOW_AUTHENTICATED) -> None:
        self._authorizer = authorizer

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == UPDATE and resource is REQUESTS and subresource == "approval"

    async def validate(self, attributes: Attributes) -> None:
        """By what is stored: nobody changes the signer on the way."""
        signer = attributes.old.spec.signer_name
        if not await may_for_signer(self._authorizer, attributes, "approve", signer):
            raise refused(attributes, f'user not permitted to approve requests with signerName "{signer}"')
