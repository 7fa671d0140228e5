"""ServiceAccount: makes the default account of each namespace, and makes it again when it is deleted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.controller import is_there
from knarr.client.reconciler import Again
from knarr.machinery.errors import AlreadyExists
from knarr.objects.keys import Key
from services.controller.controller import Context, Controller
from services.controller.controllers.serviceaccount.decide import NAME, decide


class ServiceAccountController(Controller):
    name = "serviceaccount"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._namespaces = self.watches(core.Namespace, when=is_there)
        self._accounts = self.watches(core.ServiceAccount, mapped=_namespace_of, when=_default_is_gone)

    async def reconcile(self, key: Key) -> Again | None:
        namespace = self._namespaces.get("", key.name)
        account = None if namespace is None else decide(namespace, self._accounts.get(key.name, NAME))
        if account is not None:
            with contextlib.suppress(AlreadyExists):
                await self.client.create(account)
        return None


def _namespace_of(account: core.ServiceAccount) -> Iterable[Key]:
    return (Key("", account.metadata.namespace),)


def _default_is_gone(old: core.ServiceAccount | None, new: core.ServiceAccount | None) -> bool:
    return new is None and old is not None and bool(old.metadata.name == NAME)
