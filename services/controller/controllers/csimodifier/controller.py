"""csimodifier: has drivers give volumes the attributes of the VolumeAttributesClass that their claims name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import grpc

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.csi.v1 import controller_pb2 as pb
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.client.index import Index
from knarr.client.reconciler import Again
from knarr.machinery.errors import NotFound
from knarr.objects.keys import Key, key_of
from services.controller.controller import Context
from services.controller.controllers.csimodifier import decide
from services.controller.csi.capabilities import Refused
from services.controller.csi.claim_controller import ClaimController
from services.controller.csi.controller import INFEASIBLE_SECONDS
from services.controller.csi.driver import RPC, Driver, DriverError
from services.controller.csi.secrets import MODIFY_SECRET, contents

FAILED = "VolumeModifyFailed"
BY_ATTRIBUTES: Index[core.PersistentVolumeClaim] = Index(
    "attributes-class", lambda claim: filter(None, (claim.spec.volume_attributes_class_name,))
)


class CsiModifierController(ClaimController):
    name = "csimodifier"
    speaks_as = "external-resizer"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._claims = self.hears(core.PersistentVolumeClaim, self._claim_changed, BY_ATTRIBUTES)
        self._volumes = self.reads(core.PersistentVolume)
        self._classes = self.hears(storage.VolumeAttributesClass, self._class_changed)

    def _class_changed(self, old: storage.VolumeAttributesClass | None, new: storage.VolumeAttributesClass | None) -> Iterable[Key]:
        if old is None and new is not None and new.driver_name in self.context.drivers:
            yield from map(key_of, self._claims.index(BY_ATTRIBUTES, new.metadata.name))

    async def sync(self, key: Key) -> Again | None:
        with contextlib.suppress(NotFound):
            return await self._claim(key)
        return None

    async def _claim(self, key: Key) -> Again | None:
        seen = self._claims.get(*key)
        if seen is None or not self._target(seen, self._volumes.get("", seen.spec.volume_name)):
            return None
        # What was done a moment ago is not in the copies yet.
        claim = await self.client.get(core.PersistentVolumeClaim, key.name, key.namespace)
        volume = await self.client.get(core.PersistentVolume, seen.spec.volume_name)
        name = self._target(claim, volume)
        if not name:
            return None
        driver = self.context.drivers[volume.spec.persistent_volume_source.csi.driver]
        try:
            if not (await driver.abilities()).can(RPC.MODIFY_VOLUME):
                return None
        except DriverError as error:
            self.warn(claim, FAILED, str(error))
            raise
        found = self._classes.get("", name)
        if found is None or found.driver_name != volume.spec.persistent_volume_source.csi.driver:
            await self._without_class(claim, name, found)
            return None
        return await self._modify(claim, volume, found, driver)

    def _target(self, claim: core.PersistentVolumeClaim, volume: core.PersistentVolume | None) -> str:
        return decide.target(claim, volume, self.context.drivers, surely_failed=claim.metadata.uid in self._surely_failed)

    async def _without_class(self, claim: core.PersistentVolumeClaim, name: str, found: storage.VolumeAttributesClass | None) -> None:
        """Waits for the class, or for the claim to name another one."""
        of_another = f'VAC "{name}" is for driver {found.driver_name}.' if found is not None else f'VAC "{name}" does not exist.'
        self.warn(claim, FAILED, of_another)
        told = decide.pending(claim)
        if told != claim:
            await self.client.update(told, subresource="status")

    async def _modify(
        self, claim: core.PersistentVolumeClaim, volume: core.PersistentVolume, found: storage.VolumeAttributesClass, driver: Driver
    ) -> Again | None:
        name, now = found.metadata.name, self.context.clock.now()
        told = decide.begun(claim, name, now)
        if told != claim:
            claim = await self.client.update(told, subresource="status")
        self.tell(claim, "VolumeModify", f"external resizer is modifying volume {claim.metadata.name} with vac {name}")
        asked = pb.ControllerModifyVolumeRequest(volume_id=volume.spec.persistent_volume_source.csi.volume_handle)
        asked.mutable_parameters.update(found.parameters)
        try:
            secret, namespace = (volume.metadata.annotations.get(key, "") for key in MODIFY_SECRET)
            asked.secrets.update(await contents(self.client, core.SecretReference(name=secret, namespace=namespace)))
            await driver.modify(asked)
        except Refused as error:
            self.warn(claim, FAILED, str(error))
            raise
        except DriverError as error:
            return await self._failed(claim, name, error)
        self._surely_failed.discard(claim.metadata.uid)
        if (changed := decide.modified(volume, name)) is not None:
            await self.client.update(changed)
        await self.client.update(decide.finished(claim, name), subresource="status")
        self.tell(claim, "VolumeModifySuccessful", f"external resizer modified volume {claim.metadata.name} with vac {name} successfully")
        return None

    async def _failed(self, claim: core.PersistentVolumeClaim, name: str, error: DriverError) -> Again | None:
        (self._surely_failed.discard if error.is_undecided else self._surely_failed.add)(claim.metadata.uid)
        self.warn(claim, FAILED, f"{error}. Still modifying to VAC {name}" if error.is_undecided else str(error))
        told = decide.failed(claim, name, error, self.context.clock.now())
        if told != claim:
            await self.client.update(told, subresource="status")
        if error.code is grpc.StatusCode.INVALID_ARGUMENT:
            return Again(INFEASIBLE_SECONDS)
        raise error

    @staticmethod
    def _counted(claim: core.PersistentVolumeClaim) -> tuple[object, ...]:
        status = claim.status
        names = claim.spec.volume_attributes_class_name, status.current_volume_attributes_class_name
        return claim.metadata.uid, claim.spec.volume_name, status.phase, names
