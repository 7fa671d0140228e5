"""PodCertificateCleaner: deletes requests for pods' certificates that have had their time."""

from __future__ import annotations

import contextlib

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.client.reconciler import Again
from knarr.machinery.errors import Conflict, NotFound
from knarr.objects.keys import Key, is_deleting
from services.controller.controller import Context, Controller
from services.controller.controllers.podcertificatecleaner.decide import seconds_left


class PodCertificateCleanerController(Controller):
    """Its keys are those of requests."""

    name = "podcertificatecleaner"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._requests = self.watches(certificates.PodCertificateRequest)

    async def reconcile(self, key: Key) -> Again | None:
        request = self._requests.get(*key)
        if request is None or is_deleting(request):
            return None
        if left := seconds_left(request, self.context.clock.now()):
            return Again(left)
        with contextlib.suppress(Conflict, NotFound):
            await self.client.delete(certificates.PodCertificateRequest, key.name, key.namespace, uid=request.metadata.uid)
        return None
