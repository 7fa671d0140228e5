"""Who answers a request for a pod's certificate may sign for the signer, and answers with one that begins now.

Kubernetes' strategy of the kind looks at both; here a strategy knows neither the caller nor the time.
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import invalid as refusal
from knarr.machinery.forms import write_time
from knarr.machinery.resources import Resource
from knarr.machinery.times import to_datetime
from knarr.machinery.validation import forbidden, invalid
from services.apiserver.admission.attributes import UPDATE, Attributes
from services.apiserver.admission.permission import may_for_signer
from services.apiserver.authorization import ALLOW_AUTHENTICATED, Authorizer
from services.apiserver.backend import Backend
from services.apiserver.strategies.paths import SPEC, STATUS

VERSION = version_of(certificates.PodCertificateRequest)
SKEW = timedelta(minutes=5)


class PodCertificateSigning:
    name: ClassVar[str] = "PodCertificateSigning"

    def __init__(self, backend: Backend, *, authorizer: Authorizer = ALLOW_AUTHENTICATED) -> None:
        self._backend, self._authorizer = backend, authorizer

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation == UPDATE and resource is VERSION.resource and subresource == "status"

    async def validate(self, attributes: Attributes) -> None:
        """Raises Invalid, in Kubernetes' words."""
        new, old, signer = attributes.obj.status, attributes.old.status, attributes.old.spec.signer_name
        if new == old:
            return
        if not await may_for_signer(self._authorizer, attributes, "sign", signer):
            words = f'User "{attributes.user.name}" is not permitted to "sign" for signer "{signer}"'
            raise refusal(VERSION.kind, attributes.name, [forbidden(SPEC.child("signerName"), words)], VERSION.group)
        begins = to_datetime(new.not_before) if new.HasField("not_before") else None
        if begins is not None and abs(begins - self._backend.clock()) >= SKEW:
            words = "must be set to within 5 minutes of kube-apiserver's current time"
            wrong = invalid(STATUS.child("notBefore"), write_time(new.not_before), words)
            raise refusal(VERSION.kind, attributes.name, [wrong], VERSION.group)
