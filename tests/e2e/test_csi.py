"""A driver of volumes with all that asks it: a StatefulSet's data survives its pod, its volume grows while it is used, all goes with it.

Scheduler, controllers and kubelet are the real ones, over the API server in memory; the driver is asked over its socket by the manager
and by the kubelet, and really mounts. Containers are simulated.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.storage.v1 import storage_pb2 as storage
from services.controller.component import ControllerManager
from services.controller.settings import ControllerSettings
from services.kubelet.csi import mounts
from services.kubelet.node.mounts import unmount_all
from services.scheduler.component import Scheduler
from services.scheduler.settings import SchedulerSettings
from tests.kubelet.csi.driver_world import World, hurry, needs_mounts, rules, world
from tests.support.csi.driver import NAME
from tests.support.csi.faults import Fault, When
from tests.support.rights import CONTROLLER, SCHEDULER

pytestmark = needs_mounts
GI = 1 << 30
CLAIM = "data-db-0"


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of a short name: that of a socket has 107 bytes at most."""
    hurry(monkeypatch)
    monkeypatch.setattr(mounts, "LOOK_AGAIN", timedelta(seconds=0.2))
    with tempfile.TemporaryDirectory(prefix="csi-") as name:
        yield Path(name)
        unmount_all(Path(name))


@asynccontextmanager
async def cluster(place: Path) -> AsyncIterator[World]:
    async with world(place, disks=(), topology={"example.com/zone": "a"}) as w:
        settings = ControllerSettings(csi_drivers={NAME: f"unix://{w.driver.socket}"})
        manager = ControllerManager(w.api.client(CONTROLLER), settings)
        scheduler = Scheduler(w.api.client(SCHEDULER), SchedulerSettings())
        tasks = [asyncio.create_task(component.run()) for component in (manager, scheduler)]
        try:
            yield w
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def disks_class() -> storage.StorageClass:
    made = storage.StorageClass(provisioner=NAME, volume_binding_mode="WaitForFirstConsumer", allow_volume_expansion=True)
    made.metadata.name = "disks"
    return made


def database() -> apps.StatefulSet:
    made = apps.StatefulSet()
    made.metadata.name, made.metadata.namespace = "db", "default"
    spec = made.spec
    spec.replicas, spec.service_name = 1, "db"
    spec.selector.match_labels["app"] = spec.template.metadata.labels["app"] = "db"
    spec.template.spec.termination_grace_period_seconds = 1
    container = spec.template.spec.containers.add(name="db", image="app:1", image_pull_policy="IfNotPresent")
    container.command.extend(["sleep", "100000"])
    container.volume_mounts.add(name="data", mount_path="/data")
    claim = spec.volume_claim_templates.add()
    claim.metadata.name = "data"
    claim.spec.storage_class_name = "disks"
    claim.spec.access_modes.append("ReadWriteOnce")
    claim.spec.resources.requests["storage"].string = "1Gi"
    return made


def claims(w: World) -> list[core.PersistentVolumeClaim]:
    return w.api.all(core.PersistentVolumeClaim)


def ship(w: World) -> Path:
    """A file of the database, where the kubelet has its volume."""
    return w.target("db-0", claims(w)[0].spec.volume_name) / "ship"


async def test_a_stateful_set_keeps_its_data_on_a_driver(place: Path) -> None:
    async with cluster(place) as w:
        # What is done, and then answered with an error, is done once.
        w.driver.faults += [Fault(call, When.AFTER, code=grpc.StatusCode.ABORTED) for call in ("CreateVolume", "ControllerPublishVolume")]
        for obj in (rules(attach_required=True, storage_capacity=True), disks_class(), database()):
            await w.c.client.create(obj)
        first = await w.c.ready("db-0")
        (disk,) = w.driver.storage.disks.values()
        volume = w.api.all(core.PersistentVolume)[0]
        assert disk.size_bytes == GI and list(disk.attached) and volume.spec.node_affinity.HasField("required")
        assert [found.status.attached for found in w.api.all(storage.VolumeAttachment)] == [True]
        assert w.api.all(storage.CSIStorageCapacity)
        await w.c.until(lambda: w.api.all(core.Node)[0].status.volumes_attached)
        ship(w).write_text("knarr")

        await w.c.client.delete(core.Pod, "db-0", "default")
        await w.c.until(lambda: (found := w.c.pod("db-0")) is not None and found.metadata.uid != first.metadata.uid, 30)
        await w.c.ready("db-0")
        assert ship(w).read_text() == "knarr" and len(w.driver.storage.disks) == 1

        larger = await w.c.client.get(core.PersistentVolumeClaim, CLAIM, "default")
        larger.spec.resources.requests["storage"].CopyFrom(meta.Quantity(string="2Gi"))
        await w.c.client.update(larger)
        await w.c.until(lambda: claims(w)[0].status.capacity["storage"].string == "2Gi", 30)
        assert disk.size_bytes == 2 * GI and disk.grown and not claims(w)[0].status.conditions

        await w.c.client.delete(apps.StatefulSet, "db", "default", propagation_policy="Background")
        await w.c.client.delete(core.PersistentVolumeClaim, CLAIM, "default")
        await w.c.until(lambda: not w.api.all(core.PersistentVolume) and not w.api.all(storage.VolumeAttachment), 60)
        await w.clean()
        assert w.driver.storage.disks == {} and w.api.all(core.Node)[0].status.volumes_attached == []
