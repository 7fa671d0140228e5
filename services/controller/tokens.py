"""What controllers of Secrets with tokens of service accounts share: they follow those Secrets alone, by one watch."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.account_tokens import TYPE
from knarr.objects.keys import key_of
from services.controller.controller import Context, Controller


class TokenSecretController(Controller):
    """Its keys are those of such Secrets."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        informer = context.informers.get(core.Secret, field_selector=f"type={TYPE}")
        informer.on_change(self._secret_changed)
        self.secrets = informer.store

    def _secret_changed(self, old: core.Secret | None, new: core.Secret | None) -> None:
        if new is not None:
            self.queue.enqueue(key_of(new))
