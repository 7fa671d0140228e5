"""CSRApproving: approves the requests of nodes for their own certificates, where their requesters may have them."""

from __future__ import annotations

import contextlib

from knarr.api.authorization.v1 import authorization_pb2 as authorization
from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.client.reconciler import Again
from knarr.machinery.errors import Conflict, NotFound
from knarr.objects.copies import copy_of
from knarr.objects.keys import Key
from services.controller.controller import Context, Controller
from services.controller.controllers.csrapproving.decide import SERVING, Right, is_open, rights, serves_itself

GROUP, RESOURCE = "certificates.k8s.io", "certificatesigningrequests"


class CertificateApprovingController(Controller):
    """Its keys are those of requests."""

    name = "csrapproving"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._requests = self.watches(certificates.CertificateSigningRequest, when=_is_open)

    async def reconcile(self, key: Key) -> Again | None:
        request = self._requests.get(*key)
        if request is None or not is_open(request):
            return None
        try:
            if serves_itself(request, self.context.settings.api_hosts):
                await self._approve(request, SERVING)
                return None
            for right in rights(request):
                if await self._may(request, right):
                    await self._approve(request, right.message)
                    return None
        except ValueError:
            # It is no request at all; the API server takes none, but an earlier one may have.
            return None
        return None

    async def _may(self, request: certificates.CertificateSigningRequest, right: Right) -> bool:
        spec, review = request.spec, authorization.SubjectAccessReview()
        review.spec.user, review.spec.uid = spec.username, spec.uid
        review.spec.groups.extend(spec.groups)
        for key, values in spec.extra.items():
            review.spec.extra[key].items.extend(values.items)
        about = review.spec.resource_attributes
        about.group, about.version, about.resource, about.subresource, about.verb = GROUP, "*", RESOURCE, right.subresource, "create"
        answer = await self.client.create(review)
        return answer.status.allowed

    async def _approve(self, request: certificates.CertificateSigningRequest, message: str) -> None:
        changed = copy_of(request)
        condition = changed.status.conditions.add(type="Approved", status="True", reason="AutoApproved", message=message)
        condition.last_update_time.seconds = condition.last_transition_time.seconds = int(self.context.clock.now().timestamp())
        # Whoever was faster is seen by the watch.
        with contextlib.suppress(Conflict, NotFound):
            await self.client.update(changed, subresource="approval")


def _is_open(old: certificates.CertificateSigningRequest | None, new: certificates.CertificateSigningRequest | None) -> bool:
    return new is not None and is_open(new)
