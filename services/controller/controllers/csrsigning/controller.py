"""CSRSigning: signs approved requests for certificates, by the cluster's own authority.

The authority's files are read with each request: they may be replaced. Without them nothing is signed.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
from datetime import timedelta

from cryptography import x509

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.client.reconciler import Again
from knarr.machinery.errors import Conflict, NotFound
from knarr.objects.copies import copy_of
from knarr.objects.keys import Key
from knarr.service.certificates import CertificateAuthority
from knarr.service.keypair import KeyPair
from services.controller.controller import Context, Controller
from services.controller.controllers.csrsigning.decide import FAILED, Refused, check, is_due, signed

logger = logging.getLogger(__name__)

REASON = "SignerValidationFailure"
# Until files are looked for that were not there.
MISSING_SECONDS = 60.0


class CertificateSigningController(Controller):
    """Its keys are those of requests."""

    name = "csrsigning"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._settings = context.settings.signing
        self._requests = self.watches(certificates.CertificateSigningRequest, when=_is_due)

    async def reconcile(self, key: Key) -> Again | None:
        request = self._requests.get(*key)
        if request is None or not is_due(request) or self._settings is None:
            return None
        authority = self._authority()
        if authority is None:
            return Again(MISSING_SECONDS)
        changed = copy_of(request)
        try:
            asked = x509.load_pem_x509_csr(request.spec.request)
            check(request, asked)
            longest = timedelta(seconds=self._settings.duration_seconds)
            changed.status.certificate = signed(request, asked, authority, longest, self.context.clock.now())
            logger.info("a certificate was signed", extra={"request": key.name, "signer": request.spec.signer_name})
        except (Refused, ValueError, TypeError) as error:
            seconds = int(self.context.clock.now().timestamp())
            condition = changed.status.conditions.add(type=FAILED, status="True", reason=REASON, message=str(error))
            condition.last_update_time.seconds = condition.last_transition_time.seconds = seconds
        # Whoever was faster is seen by the watch.
        with contextlib.suppress(Conflict, NotFound):
            await self.client.update(changed, subresource="status")
        return None

    def _authority(self) -> CertificateAuthority | None:
        assert self._settings is not None
        try:
            pair = KeyPair(self._settings.certificate.read_bytes(), self._settings.key.read_bytes())
            return CertificateAuthority(pair)
        except (OSError, ValueError, TypeError, ssl.SSLError) as error:
            logger.error("the authority that signs requests cannot be read", extra={"path": str(self._settings.key), "error": error})
            return None


def _is_due(old: certificates.CertificateSigningRequest | None, new: certificates.CertificateSigningRequest | None) -> bool:
    return new is not None and is_due(new)
