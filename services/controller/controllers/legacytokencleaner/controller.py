"""LegacyTokenCleaner: tokens of accounts that nobody has used for a year are marked, and deleted a year later."""

from __future__ import annotations

import contextlib
from datetime import timedelta

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.reconciler import Again
from knarr.machinery.errors import Conflict, NotFound
from knarr.objects.account_tokens import ACCOUNT, INVALID_SINCE, SINCE, TRACKING_NAME, TRACKING_NAMESPACE
from knarr.objects.copies import copy_of
from knarr.objects.keys import Key
from knarr.objects.references import secret_names
from services.controller.controller import Context
from services.controller.controllers.legacytokencleaner.decide import Delete, Mark, decide, is_unused
from services.controller.tokens import TokenSecretController

LOOK_SECONDS = 86_400.0


class LegacyTokenCleanerController(TokenSecretController):
    """Each Secret is looked at once a day."""

    name = "legacytokencleaner"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._period = timedelta(seconds=context.settings.legacy_token_clean_up_seconds)
        self._accounts = self.reads(core.ServiceAccount)
        self._pods = self.reads(core.Pod)

    async def reconcile(self, key: Key) -> Again | None:
        secret = self.secrets.get(*key)
        if secret is None:
            return None
        account = self._accounts.get(key.namespace, secret.metadata.annotations.get(ACCOUNT, ""))
        now = self.context.clock.now()
        if is_unused(secret, account, now, self._period) and not self._is_named(key):
            await self._carry_out(secret, decide(secret, await self._tracked_since(), now, self._period))
        return Again(LOOK_SECONDS)

    def _is_named(self, key: Key) -> bool:
        """Whether a pod names the Secret. Asked of few Secrets and seldom: an index would cost something with each change of a pod."""
        return any(key.name in secret_names(pod) for pod in self._pods.list(key.namespace))

    async def _carry_out(self, secret: core.Secret, step: Mark | Delete | None) -> None:
        metadata = secret.metadata
        # Whoever used or changed it meanwhile is seen by the watch, which brings the key again.
        with contextlib.suppress(Conflict, NotFound):
            if isinstance(step, Mark):
                marked = copy_of(secret)
                marked.metadata.labels[INVALID_SINCE] = step.since
                await self.client.update(marked)
            elif isinstance(step, Delete):
                version = metadata.resource_version
                await self.client.delete(core.Secret, metadata.name, metadata.namespace, uid=metadata.uid, resource_version=version)

    async def _tracked_since(self) -> str:
        """Empty where nobody notes uses: then nothing is known to be unused."""
        try:
            found = await self.client.get(core.ConfigMap, TRACKING_NAME, TRACKING_NAMESPACE)
        except NotFound:
            return ""
        return str(found.data.get(SINCE, ""))
