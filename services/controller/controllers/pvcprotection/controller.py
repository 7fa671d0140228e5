"""Claim protection: lets a claim that is deleted go once no pod uses it."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.controller import is_there
from knarr.client.reconciler import Again
from knarr.objects.keys import Key
from knarr.objects.volumes import CLAIM_PROTECTION
from services.controller.controller import Context, Controller
from services.controller.controllers.pvcprotection.decide import is_used
from services.controller.pods import BY_CLAIM, claims_of
from services.controller.protection import is_ending, is_unprotected, protect, release

PAGE_SIZE = 500


class ClaimProtectionController(Controller):
    name = "pvcprotection"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._claims = self.watches(core.PersistentVolumeClaim, when=is_there)
        self._pods = self.watches(core.Pod, BY_CLAIM, mapped=claims_of)

    async def reconcile(self, key: Key) -> Again | None:
        claim = self._claims.get(*key)
        if claim is None:
            return None
        if is_unprotected(claim, CLAIM_PROTECTION):
            await protect(self.client, claim, CLAIM_PROTECTION)
        elif (
            is_ending(claim, CLAIM_PROTECTION)
            and not is_used(claim, self._pods.index(BY_CLAIM, str(key)))
            and not await self._is_used(claim)
        ):
            await release(self.client, claim, CLAIM_PROTECTION)
        return None

    async def _is_used(self, claim: core.PersistentVolumeClaim) -> bool:
        """Whether a pod uses it by the server's word: one that got its node a moment ago may not be in the copy yet."""
        token = ""
        while True:
            page = await self.client.list(core.Pod, claim.metadata.namespace, limit=PAGE_SIZE, continue_token=token)
            if is_used(claim, page.items):
                return True
            token = page.continue_token
            if not token:
                return False
