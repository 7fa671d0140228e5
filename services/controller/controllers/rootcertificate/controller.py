"""RootCertificate: keeps ``kube-root-ca.crt`` in each namespace, and restores it when it is changed or deleted.

It watches those ConfigMaps alone: the others are not its affair, and may be many.
"""

from __future__ import annotations

import asyncio
import contextlib

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.controller import is_there
from knarr.client.informer import Informer
from knarr.client.reconciler import Again
from knarr.machinery.errors import AlreadyExists, NotFound
from knarr.objects.keys import Key, metadata_of
from services.controller.controller import Context, Controller
from services.controller.controllers.rootcertificate.decide import NAME, decide


class RootCertificateController(Controller):
    """A manager that was given no certificate keeps none."""

    name = "rootcertificate"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._certificate = context.settings.root_certificate
        self._namespaces = self.watches(core.Namespace, when=is_there)
        self._kept = Informer(context.client, core.ConfigMap, field_selector=f"metadata.name={NAME}")
        self._kept.on_change(self._changed)

    def _changed(self, old: core.ConfigMap | None, new: core.ConfigMap | None) -> None:
        found = new if new is not None else old
        if found is not None:
            self.queue.enqueue(Key("", metadata_of(found).namespace))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._kept.run(), name="rootcertificate informer")
            await self._kept.wait_synced()
            await super().run()

    async def reconcile(self, key: Key) -> Again | None:
        namespace = self._namespaces.get("", key.name)
        if namespace is None or not self._certificate:
            return None
        found = self._kept.store.get(key.name, NAME)
        wanted = decide(namespace, found, self._certificate)
        if wanted is None:
            return None
        # Whoever was faster is seen by the watch, which brings the key again.
        with contextlib.suppress(AlreadyExists, NotFound):
            await (self.client.create(wanted) if found is None else self.client.update(wanted))
        return None
