"""TrustBundlePublisher: keeps the ClusterTrustBundle by which everybody knows the API servers, and restores it when somebody changes it.

It watches the bundles of that signer alone.
"""

from __future__ import annotations

import asyncio
import contextlib

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.client.informer import Informer
from knarr.client.reconciler import Again
from knarr.machinery.errors import AlreadyExists, NotFound
from knarr.objects.keys import Key
from services.controller.controller import Context, Controller
from services.controller.controllers.trustbundlepublisher.decide import SIGNER, decide

# There is nothing to tell apart: all bundles of the signer are one matter.
KEY = Key("", SIGNER)


class TrustBundlePublisher(Controller):
    """A manager that was given no certificate publishes none."""

    name = "trustbundlepublisher"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._certificate = context.settings.root_certificate
        self._bundles = Informer(context.client, certificates.ClusterTrustBundle, field_selector=f"spec.signerName={SIGNER}")
        self._bundles.on_change(lambda old, new: self.queue.enqueue(KEY))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._bundles.run(), name="trustbundlepublisher informer")
            await self._bundles.wait_synced()
            self.queue.enqueue(KEY)
            await super().run()

    async def reconcile(self, key: Key) -> Again | None:
        if not self._certificate:
            return None
        decision = decide(self._bundles.store.list(), self._certificate)
        # Whoever was faster is seen by the watch, which brings the key again.
        with contextlib.suppress(AlreadyExists, NotFound):
            if decision.create is not None:
                await self.client.create(decision.create)
            elif decision.update is not None:
                await self.client.update(decision.update)
        for name in decision.delete:
            with contextlib.suppress(NotFound):
                await self.client.delete(certificates.ClusterTrustBundle, name)
        return None
