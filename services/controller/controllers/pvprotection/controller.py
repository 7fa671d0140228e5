"""Volume protection: lets a volume that is deleted go once no claim has it."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.controller import is_there
from knarr.client.reconciler import Again
from knarr.objects.keys import Key
from knarr.objects.volumes import VOLUME_PROTECTION
from services.controller.controller import Context, Controller
from services.controller.controllers.pvprotection.decide import is_used
from services.controller.protection import is_ending, is_unprotected, protect, release


class VolumeProtectionController(Controller):
    name = "pvprotection"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._volumes = self.watches(core.PersistentVolume, when=is_there)

    async def reconcile(self, key: Key) -> Again | None:
        volume = self._volumes.get(*key)
        if volume is None:
            return None
        if is_unprotected(volume, VOLUME_PROTECTION):
            await protect(self.client, volume, VOLUME_PROTECTION)
        elif is_ending(volume, VOLUME_PROTECTION) and not is_used(volume):
            await release(self.client, volume, VOLUME_PROTECTION)
        return None
