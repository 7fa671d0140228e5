"""ServiceAccount: makes the default account of each namespace, and makes it again when it is deleted."""

from __future__ import annotations

import contextlib

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.reconciler import Again
from knarr.machinery.errors import AlreadyExists
from knarr.objects.keys import Key, key_of
from services.controller.controller import Context, Controller
from services.controller.controllers.serviceaccount.decide import NAME, decide


class ServiceAccountController(Controller):
    name = "serviceaccount"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._namespaces = context.informers.get(core.Namespace)
        self._accounts = context.informers.get(core.ServiceAccount)
        self._namespaces.on_change(self._namespace_changed)
        self._accounts.on_change(self._account_changed)

    def _namespace_changed(self, old: core.Namespace | None, new: core.Namespace | None) -> None:
        if new is not None:
            self.queue.enqueue(key_of(new))

    def _account_changed(self, old: core.ServiceAccount | None, new: core.ServiceAccount | None) -> None:
        if new is None and old is not None and old.metadata.name == NAME:
            self.queue.enqueue(Key("", old.metadata.namespace))

    async def reconcile(self, key: Key) -> Again | None:
        namespace = self._namespaces.store.get("", key.name)
        account = None if namespace is None else decide(namespace, self._accounts.store.get(key.name, NAME))
        if account is not None:
            with contextlib.suppress(AlreadyExists):
                await self.client.create(account)
        return None
