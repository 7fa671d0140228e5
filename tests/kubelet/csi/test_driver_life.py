"""The whole life of a volume: the controllers make and attach it, the kubelet mounts it, and everything is undone in the other order."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.storage.v1 import storage_pb2 as storage
from services.controller.component import ControllerManager
from services.controller.settings import ControllerSettings
from tests.kubelet.csi.driver_world import MACHINE, hurry, needs_mounts, using, world
from tests.support.csi.driver import NAME
from tests.support.rights import CONTROLLER

pytestmark = needs_mounts
ORDER = [
    "CreateVolume",
    "ControllerPublishVolume",
    "NodeStageVolume",
    "NodePublishVolume",
    "NodeUnpublishVolume",
    "NodeUnstageVolume",
    "ControllerUnpublishVolume",
    "DeleteVolume",
]


def claim() -> core.PersistentVolumeClaim:
    made = core.PersistentVolumeClaim()
    made.metadata.name, made.metadata.namespace = "disk", "default"
    made.spec.access_modes.append("ReadWriteOnce")
    made.spec.resources.requests["storage"].string = "1Gi"
    made.spec.storage_class_name = "disks"
    return made


def storage_class() -> storage.StorageClass:
    made = storage.StorageClass(provisioner=NAME, reclaim_policy="Delete", volume_binding_mode="Immediate", allow_volume_expansion=True)
    made.metadata.name = "disks"
    made.parameters["csi.storage.k8s.io/fstype"] = "ext4"
    return made


async def test_a_volume_is_made_used_grown_and_removed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    monkeypatch.setattr("services.kubelet.csi.mounts.LOOK_AGAIN", timedelta(seconds=0.1))
    async with world(place, disks=()) as w:
        manager = ControllerManager(w.api.client(CONTROLLER), ControllerSettings(csi_drivers={NAME: w.driver.target}))
        task = asyncio.create_task(manager.run())
        try:
            await w.c.client.create(storage_class())
            await w.c.client.create(claim())
            await w.c.client.create(using())
            await w.c.ready()
            (disk,) = w.driver.storage.disks.values()
            (volume,) = w.api.all(core.PersistentVolume)
            (w.target(name=volume.metadata.name) / "row").write_text("1")
            assert (disk.path / "row").read_text() == "1" and list(disk.attached) == [MACHINE]
            wish = await w.c.client.get(core.PersistentVolumeClaim, "disk", "default")
            wish.spec.resources.requests["storage"].string = "2Gi"
            await w.c.client.update(wish)
            await w.c.until(lambda: w.api.all(core.PersistentVolumeClaim)[0].status.capacity["storage"].string == "2Gi")
            assert disk.grown == {MACHINE: 2 << 30}
            await w.end_pod()
            await w.c.until(lambda: not w.api.all(storage.VolumeAttachment) and not disk.attached)
            await w.c.client.delete(core.PersistentVolumeClaim, "disk", "default")
            await w.c.until(lambda: not w.api.all(core.PersistentVolume) and not w.driver.storage.disks)
            await w.clean()
            assert list(dict.fromkeys(w.driver.asked(*ORDER))) == ORDER
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
