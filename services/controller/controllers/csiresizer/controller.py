"""csiresizer: has drivers make volumes larger whose claims ask for more, and hands over to the node where a file system has to grow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.csi.v1 import controller_pb2 as pb
from knarr.client.reconciler import Again
from knarr.machinery.errors import NotFound
from knarr.objects.binding import storage_of, wanted_storage
from knarr.objects.copies import copy_of
from knarr.objects.csi import source_of
from knarr.objects.growth import grown
from knarr.objects.keys import Key
from knarr.objects.volumes import STORAGE
from services.controller.controller import Context
from services.controller.controllers.csiresizer import decide
from services.controller.controllers.csiresizer.decide import Growth
from services.controller.csi.capabilities import Refused, capability_of
from services.controller.csi.claim_controller import ClaimController
from services.controller.csi.claims import has_volume
from services.controller.csi.controller import INFEASIBLE_SECONDS
from services.controller.csi.driver import RPC, Abilities, Driver, DriverError
from services.controller.csi.secrets import contents

FAILED = "VolumeResizeFailed"


class CsiResizerController(ClaimController):
    name = "csiresizer"
    speaks_as = "external-resizer"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._claims = self.hears(core.PersistentVolumeClaim, self._claim_changed)
        self._volumes = self.hears(core.PersistentVolume, self._volume_changed)

    def _volume_changed(self, old: core.PersistentVolume | None, new: core.PersistentVolume | None) -> Iterable[Key]:
        source = None if new is None else source_of(new)
        if new is not None and source is not None and source.driver in self.context.drivers and new.spec.HasField("claim_ref"):
            yield Key(new.spec.claim_ref.namespace, new.spec.claim_ref.name)

    async def sync(self, key: Key) -> Again | None:
        claim = self._claims.get(*key)
        volume = None if claim is None else self._volumes.get("", claim.spec.volume_name)
        if claim is None or volume is None or not has_volume(claim, volume, self.context.drivers):
            return None
        with contextlib.suppress(NotFound):
            if decide.BEFORE in volume.metadata.annotations and not storage_of(volume.spec.capacity) > storage_of(claim.status.capacity):
                await self._forget_before(volume)
            elif decide.grows(claim, volume, self.context.drivers):
                # What was done a moment ago is not in the copies yet.
                claim = await self.client.get(core.PersistentVolumeClaim, key.name, key.namespace)
                volume = await self.client.get(core.PersistentVolume, volume.metadata.name)
                return await self._grow(claim, volume) if decide.grows(claim, volume, self.context.drivers) else None
        return None

    async def _forget_before(self, volume: core.PersistentVolume) -> None:
        changed = copy_of(volume)
        del changed.metadata.annotations[decide.BEFORE]
        await self.client.update(changed)

    async def _grow(self, claim: core.PersistentVolumeClaim, volume: core.PersistentVolume) -> Again | None:
        driver = self.context.drivers[volume.spec.persistent_volume_source.csi.driver]
        growth = decide.growth(claim, volume, surely_failed=claim.metadata.uid in self._surely_failed)
        if growth is None:
            return None
        try:
            abilities = await driver.abilities()
        except DriverError as error:
            self.warn(claim, FAILED, str(error))
            raise
        if not abilities.can(RPC.EXPAND_VOLUME) and not abilities.grows_on_nodes:
            return None
        told = decide.begun(claim, growth, self.context.clock.now())
        if told != claim:
            claim = await self.client.update(told, subresource="status")
        if decide.NO_NODE in claim.metadata.annotations:
            claim = await self._noted(claim, wanted=False)
        self.tell(claim, "Resizing", f"External resizer is resizing volume {volume.metadata.name}")
        try:
            answer = await self._asked(volume, growth, driver, abilities)
        except (DriverError, Refused) as error:
            return await self._failed(claim, volume, error)
        self._surely_failed.discard(claim.metadata.uid)
        await self._grown(claim, volume, answer)
        return None

    async def _asked(
        self, volume: core.PersistentVolume, growth: Growth, driver: Driver, abilities: Abilities
    ) -> pb.ControllerExpandVolumeResponse:
        source = volume.spec.persistent_volume_source.csi
        if not abilities.can(RPC.EXPAND_VOLUME):
            # Its volumes have no size of their own: the file system of a node alone grows.
            return pb.ControllerExpandVolumeResponse(capacity_bytes=growth.wanted.whole, node_expansion_required=True)
        asked = pb.ControllerExpandVolumeRequest(volume_id=source.volume_handle, volume_capability=capability_of(volume, abilities))
        asked.capacity_range.required_bytes = growth.wanted.whole
        asked.secrets.update(await contents(self.client, source.controller_expand_secret_ref))
        return await driver.expand(asked)

    async def _failed(self, claim: core.PersistentVolumeClaim, volume: core.PersistentVolume, error: DriverError | Refused) -> Again | None:
        name = volume.spec.persistent_volume_source.csi.driver
        self.warn(claim, FAILED, f'resize volume "{volume.metadata.name}" by resizer "{name}" failed: {error}')
        if not isinstance(error, DriverError) or error.is_undecided:
            self._surely_failed.discard(claim.metadata.uid)
            raise error
        self._surely_failed.add(claim.metadata.uid)
        told = decide.failed(claim, str(error), self.context.clock.now(), infeasible=error.is_infeasible)
        if told != claim:
            await self.client.update(told, subresource="status")
        if error.is_infeasible:
            return Again(INFEASIBLE_SECONDS)
        raise error

    async def _grown(
        self, claim: core.PersistentVolumeClaim, volume: core.PersistentVolume, answer: pb.ControllerExpandVolumeResponse
    ) -> None:
        on_node = answer.node_expansion_required
        if (changed := decide.grown(volume, claim, answer.capacity_bytes, on_node=on_node)) is not None:
            volume = await self.client.update(changed)
        if on_node:
            await self.client.update(decide.handed_over(claim, self.context.clock.now()), subresource="status")
            self.tell(claim, "FileSystemResizeRequired", "Require file system resize of volume on node")
            return
        claim = await self._noted(claim, wanted=True)
        await self.client.update(grown(claim, volume.spec.capacity[STORAGE].string), subresource="status")
        self.tell(claim, "VolumeResizeSuccessful", "Resize volume succeeded")

    async def _noted(self, claim: core.PersistentVolumeClaim, *, wanted: bool) -> core.PersistentVolumeClaim:
        """The claim with the note that no node has to do anything, or without it."""
        if (decide.NO_NODE in claim.metadata.annotations) is wanted:
            return claim
        changed = copy_of(claim)
        if wanted:
            changed.metadata.annotations[decide.NO_NODE] = "true"
        else:
            del changed.metadata.annotations[decide.NO_NODE]
        return await self.client.update(changed)

    @staticmethod
    def _counted(claim: core.PersistentVolumeClaim) -> tuple[object, ...]:
        status = claim.status
        sizes = wanted_storage(claim).value, storage_of(status.capacity).value
        return claim.metadata.uid, claim.spec.volume_name, sizes, status.phase, status.allocated_resource_statuses.get(STORAGE, "")
