"""ServiceAccountToken: fills the Secrets of type ``kubernetes.io/service-account-token``, and deletes them with their account.

It watches those Secrets alone. The manager has no key: the API server is asked for a token that is bound to the Secret, and so good for
as long as that is there.
"""

from __future__ import annotations

import contextlib

from knarr.api.authentication.v1 import authentication_pb2 as authentication
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.reconciler import Again
from knarr.machinery.errors import Conflict, NotFound
from knarr.objects.account_tokens import ACCOUNT, TOKEN
from knarr.objects.keys import Key, key_of
from services.controller.controller import Context
from services.controller.controllers.serviceaccounttoken.decide import Delete, decide
from services.controller.tokens import TokenSecretController

# The longest time that can be asked for, 136 years: such a token ends with its Secret.
SECONDS = 1 << 32


class ServiceAccountTokenController(TokenSecretController):
    name = "serviceaccounttoken"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._certificate = context.settings.root_certificate
        self._accounts = self.hears(core.ServiceAccount, self._account_changed)

    def _account_changed(self, old: core.ServiceAccount | None, new: core.ServiceAccount | None) -> list[Key]:
        """One that is gone, or was made anew, takes its Secrets along."""
        if old is None or (new is not None and new.metadata.uid == old.metadata.uid):
            return []
        place, name = old.metadata.namespace, old.metadata.name
        return [key_of(found) for found in self.secrets.list(place) if found.metadata.annotations.get(ACCOUNT) == name]

    async def reconcile(self, key: Key) -> Again | None:
        secret = self.secrets.get(key.namespace, key.name)
        if secret is None:
            return None
        name = secret.metadata.annotations.get(ACCOUNT, "")
        account = self._accounts.get(key.namespace, name) or await self._account(key.namespace, name)
        decision = decide(secret, account, self._certificate)
        # Whoever was faster is seen by the watch, which brings the key again.
        with contextlib.suppress(Conflict, NotFound):
            if isinstance(decision, Delete):
                await self.client.delete(core.Secret, key.name, key.namespace, uid=secret.metadata.uid)
            elif decision is not None:
                if decision.wants_token:
                    decision.secret.data[TOKEN] = await self._token(secret, name)
                await self.client.update(decision.secret)
        return None

    async def _account(self, namespace: str, name: str) -> core.ServiceAccount | None:
        """The watch may be behind: nothing is deleted for that."""
        try:
            return await self.client.get(core.ServiceAccount, name, namespace)
        except NotFound:
            return None

    async def _token(self, secret: core.Secret, account: str) -> bytes:
        request = authentication.TokenRequest()
        request.metadata.namespace = secret.metadata.namespace
        request.spec.expiration_seconds = SECONDS
        bound = request.spec.bound_object_ref
        bound.api_version, bound.kind, bound.name, bound.uid = "v1", "Secret", secret.metadata.name, secret.metadata.uid
        answer = await self.client.create(request, subresource="token", name=account)
        return answer.status.token.encode()
