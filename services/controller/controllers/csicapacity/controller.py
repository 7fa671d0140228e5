"""csicapacity: asks drivers now and then, and when volumes come or go, how much room they have, and keeps CSIStorageCapacity objects of it.

A key is a driver's name. Only drivers that say in their CSIDriver that capacity counts are asked; of others nothing is kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.client.reconciler import Again
from knarr.machinery.errors import AlreadyExists, NotFound
from knarr.objects.csi import driver_on, source_of
from knarr.objects.keys import Key
from services.controller.controller import Context
from services.controller.controllers.csicapacity import decide
from services.controller.csi.controller import DriverController
from services.controller.csi.driver import RPC, Driver
from services.controller.csi.topology import Places


class CsiCapacityController(DriverController):
    name = "csicapacity"
    speaks_as = "external-provisioner"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._told = self.reads(storage.CSIStorageCapacity)
        self._drivers = self.hears(storage.CSIDriver, lambda old, new: self._keys(found.metadata.name for found in (old, new) if found))
        self._classes = self.hears(storage.StorageClass, lambda old, new: self._keys(found.provisioner for found in (old, new) if found))
        self._places = self.hears(storage.CSINode, self._place_changed)
        self._nodes = self.hears(core.Node, self._node_changed)
        self.hears(core.PersistentVolume, self._volume_changed)
        for name in context.drivers:
            self.queue.enqueue(Key("", name))

    def _keys(self, names: Iterable[str]) -> Iterable[Key]:
        return [Key("", name) for name in names if name in self.context.drivers]

    def _place_changed(self, old: storage.CSINode | None, new: storage.CSINode | None) -> Iterable[Key]:
        return self._keys(name for name in self.context.drivers if driver_on(old, name) != driver_on(new, name))

    def _node_changed(self, old: core.Node | None, new: core.Node | None) -> Iterable[Key]:
        before, after = (dict(node.metadata.labels) if node is not None else None for node in (old, new))
        return self._keys(self.context.drivers) if before != after else ()

    def _volume_changed(self, old: core.PersistentVolume | None, new: core.PersistentVolume | None) -> Iterable[Key]:
        """A volume that comes, goes or grows takes room, or leaves it."""
        if old is not None and new is not None and old.spec.capacity == new.spec.capacity:
            return ()
        return self._keys(source.driver for volume in (old, new) if volume is not None and (source := source_of(volume)) is not None)

    async def sync(self, key: Key) -> Again | None:
        driver = self.driver(key.name)
        if driver is None:
            return None
        found = self._drivers.get("", key.name)
        abilities = await driver.abilities()
        counts = found is not None and found.spec.storage_capacity and abilities.can(RPC.GET_CAPACITY)
        wanted = dict[str, decide.Place]()
        if counts:
            known = Places.of(self._nodes.list(), self._places.list())
            all_places = decide.places(key.name, self._classes.list(), known, topology=abilities.topology)
            wanted = {place.name: place for place in all_places}
        for place in wanted.values():
            await self._tell(place, driver)
        for old in decide.stale(self._told.list(), key.name, wanted):
            with contextlib.suppress(NotFound):
                await self.client.delete(storage.CSIStorageCapacity, old.metadata.name, old.metadata.namespace, uid=old.metadata.uid)
        return Again(self.context.settings.csi_capacity_seconds) if counts else None

    async def _tell(self, place: decide.Place, driver: Driver) -> None:
        answer = await driver.capacity(decide.request(place))
        before = self._told.get(decide.NAMESPACE, place.name)
        told = decide.told(place, answer, before)
        if told is None:
            return
        with contextlib.suppress(NotFound, AlreadyExists):
            await (self.client.create(told) if before is None else self.client.update(told))
