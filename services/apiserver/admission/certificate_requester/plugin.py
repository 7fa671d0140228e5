"""Who asks for a certificate is written into the request by the server: signers and approvers decide by it."""

from __future__ import annotations

from typing import ClassVar

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.machinery.catalog import version_of
from knarr.machinery.resources import Resource
from knarr.objects.copies import copy_of
from knarr.service.authentication import User
from services.apiserver.admission.attributes import CREATE, Attributes
from services.apiserver.admission.refusals import refused
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
        _write(attributes.user, attributes.obj.spec)
        return True

    async def validate(self, attributes: Attributes) -> None:
        """Looks once more: webhooks and policies behind this one may have changed what ``mutate`` wrote."""
        told = copy_of(attributes.obj.spec)
        _write(attributes.user, told)
        if told != attributes.obj.spec:
            raise refused(attributes, "who asks for a certificate is the server's to say, and was changed by admission")


def _write(user: User, spec: certificates.CertificateSigningRequestSpec) -> None:
    spec.username, spec.uid = user.name, user.uid
    spec.ClearField("extra")
    del spec.groups[:]
    spec.groups.extend(user.groups)
    for key, values in user.extra:
        spec.extra[key].items.extend(values)
