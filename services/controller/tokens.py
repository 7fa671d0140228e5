"""What controllers of Secrets with tokens of service accounts share: they follow those Secrets alone."""

from __future__ import annotations

import asyncio

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.informer import Informer
from knarr.client.store import Store
from knarr.objects.account_tokens import TYPE
from knarr.objects.keys import key_of
from services.controller.controller import Context, Controller


class TokenSecretController(Controller):
    """Its keys are those of such Secrets."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._informer = Informer(context.client, core.Secret, field_selector=f"type={TYPE}")
        self._informer.on_change(self._secret_changed)

    @property
    def secrets(self) -> Store[core.Secret]:
        return self._informer.store

    def _secret_changed(self, old: core.Secret | None, new: core.Secret | None) -> None:
        if new is not None:
            self.queue.enqueue(key_of(new))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._informer.run(), name=f"{self.name} informer")
            await self._informer.wait_synced()
            await super().run()
