"""Nobody is given a certificate that makes him an administrator whom nothing is refused."""

from __future__ import annotations

from typing import ClassVar

from cryptography import x509
from cryptography.x509.oid import NameOID

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.machinery.catalog import version_of
from knarr.machinery.resources import Resource
from services.apiserver.admission.attributes import CREATE, Attributes
from services.apiserver.admission.refusals import refused
from services.apiserver.backend import Backend

REQUESTS = version_of(certificates.CertificateSigningRequest).resource
CLIENT_SIGNER, MASTERS = "kubernetes.io/kube-apiserver-client", "system:masters"


class CertificateSubjectRestriction:
    name: ClassVar[str] = "CertificateSubjectRestriction"

    def __init__(self, backend: Backend) -> None:
        pass

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == CREATE and resource is REQUESTS and not subresource

    async def validate(self, attributes: Attributes) -> None:
        """The request was validated by now: it can be read."""
        spec = attributes.obj.spec
        if spec.signer_name != CLIENT_SIGNER:
            return
        subject = x509.load_pem_x509_csr(spec.request).subject
        if any(found.value == MASTERS for found in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)):
            raise refused(attributes, f"use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed")
