"""Who asks for a certificate is written into the request by the server: signers and approvers decide by it."""

from __future__ import annotations

from typing import ClassVar

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.machinery.catalog import version_of
from knarr.machinery.resources import Resource
from services.apiserver.admission.attributes import CREATE, Attributes
from services.apiserver.backend import Backend

REQUESTS = version_of(certificates.CertificateSigningRequest).resource


class CertificateRequester:
    name: ClassVar[str] = "CertificateRequester"

    def __init__(self, backend: Backend) -> None:
        pass

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == CREATE and resource is REQUESTS

    async def mutate(self, attributes: Attributes) -> bool:
        """Whatever the request says of it."""
        spec, user = attributes.obj.spec, attributes.user
        spec.username, spec.uid = user.name, user.uid
        spec.ClearField("extra")
        del spec.groups[:]
        spec.groups.extend(user.groups)
        for key, values in user.extra:
            spec.extra[key].items.extend(values)
        return True
