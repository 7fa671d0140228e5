"""Drivers attach and detach as VolumeAttachments want it: once, whatever is lost, and told in the attachments."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.objects.csi import attachment_name
from services.controller.controllers.attachdetach.controller import AttachDetachController
from services.controller.controllers.csiattacher.controller import CsiAttacherController
from services.controller.controllers.csiattacher.decide import NODE_ID, finalizer_of
from services.controller.csi.driver import RPC, DriverError
from tests.controller.cluster import Cluster
from tests.controller.disks import DRIVER, disk, driver, held, machine, writer
from tests.controller.drivers import Rack, driven
from tests.support.virtual_time import virtual_time

CODE = grpc.StatusCode
FINALIZER = finalizer_of(DRIVER)


def attachment(node: str = "node-1", *, attacher: str = DRIVER) -> storage.VolumeAttachment:
    made = storage.VolumeAttachment()
    made.metadata.name = attachment_name("vol-disk", attacher, node)
    made.spec.attacher, made.spec.node_name, made.spec.source.persistent_volume_name = attacher, node, "disk"
    return made


def runs_on(name: str = "node-1") -> storage.CSINode:
    made = storage.CSINode()
    made.metadata.name = name
    made.spec.drivers.add(name=DRIVER, node_id=f"id-{name}")
    return made


@asynccontextmanager
async def attaching(rack: Rack, *others: type[AttachDetachController]) -> AsyncIterator[Cluster]:
    rack.shelf.make("disk")
    rack.shelf.nodes["id-node-1"] = rack.shelf.nodes["id-node-2"] = {}
    async with driven(rack, [CsiAttacherController, *others]) as c:
        c.api.seed(disk(handle="vol-disk"), runs_on("node-1"), runs_on("node-2"))
        yield c
        assert rack.violations == []


def there(c: Cluster) -> list[storage.VolumeAttachment]:
    return c.api.all(storage.VolumeAttachment)


def at(rack: Rack) -> list[str]:
    """Where the volume is."""
    return sorted(rack.shelf.disks["vol-disk"].attached)


@pytest.mark.parametrize(("driver_name", "name"), [("disks.example.com", "disks-example-com"), ("a_b.", "a-b-X")], ids=["dots", "end"])
def test_finalizers_are_those_of_the_sidecar(driver_name: str, name: str) -> None:
    assert finalizer_of(driver_name) == f"external-attacher/{name}"


@virtual_time
async def test_a_volume_is_attached_and_detached() -> None:
    rack = Rack()
    async with attaching(rack) as c:
        await c.client.create(attachment())
        await c.until(lambda: there(c)[0].status.attached)
        found, volume = there(c)[0], c.api.all(core.PersistentVolume)[0]
        assert dict(found.status.attachment_metadata) == {"device": "vol-disk@id-node-1"} and at(rack) == ["id-node-1"]
        assert list(found.metadata.finalizers) == [FINALIZER] and found.metadata.annotations[NODE_ID] == "id-node-1"
        assert FINALIZER in volume.metadata.finalizers
        await c.client.delete(core.PersistentVolume, "disk")
        await asyncio.sleep(1)
        assert c.api.all(core.PersistentVolume), "it is attached"
        await c.client.delete(storage.VolumeAttachment, found.metadata.name)
        await c.until(lambda: not there(c) and not c.api.all(core.PersistentVolume))
        assert at(rack) == [] and rack.calls() == ["ControllerPublishVolume", "ControllerUnpublishVolume"]


@virtual_time
async def test_attachments_of_other_drivers_are_left_alone() -> None:
    rack = Rack()
    async with attaching(rack) as c:
        await c.client.create(attachment(attacher="theirs.example.com"))
        await asyncio.sleep(5)
        assert rack.asked == [] and not there(c)[0].status.attached


@virtual_time
async def test_a_driver_that_has_nothing_to_attach_is_not_asked() -> None:
    rack = Rack(can=[RPC.CREATE_DELETE_VOLUME])
    async with attaching(rack) as c:
        await c.client.create(attachment())
        await c.until(lambda: there(c)[0].status.attached)
        assert rack.asked == [] and not there(c)[0].metadata.finalizers


@pytest.mark.parametrize(
    "fault", [None, DriverError(CODE.ABORTED, "at it"), DriverError(CODE.INTERNAL, "broken")], ids=["lost", "pending", "broken"]
)
@virtual_time
async def test_errors_are_told_and_the_call_repeated(fault: DriverError | None) -> None:
    rack = Rack(faults={"ControllerPublishVolume": [fault] * 2, "ControllerUnpublishVolume": [fault] * 2})
    words = str(fault or DriverError(CODE.DEADLINE_EXCEEDED, "Deadline Exceeded"))
    async with attaching(rack) as c:
        await c.client.create(attachment())
        await c.until(lambda: there(c)[0].status.attach_error.message == words)
        assert there(c)[0].status.attach_error.error_code == (fault.code if fault else CODE.DEADLINE_EXCEEDED).value[0]
        await c.until(lambda: there(c)[0].status.attached)
        assert not there(c)[0].status.HasField("attach_error")
        await c.client.delete(storage.VolumeAttachment, there(c)[0].metadata.name)
        await c.until(lambda: there(c)[0].status.detach_error.message == words)
        await c.until(lambda: not there(c))
        assert at(rack) == []


@virtual_time
async def test_a_node_without_the_driver_is_waited_for_and_left_by_the_name_it_had() -> None:
    rack = Rack()
    async with attaching(rack) as c:
        await c.client.delete(storage.CSINode, "node-1")
        await c.client.create(attachment())
        await c.until(lambda: there(c)[0].status.attach_error.message == 'csinode.storage.k8s.io "node-1" not found')
        await c.client.create(runs_on())
        await c.until(lambda: there(c)[0].status.attached)
        await c.client.delete(storage.CSINode, "node-1")
        await asyncio.sleep(1)
        await c.client.delete(storage.VolumeAttachment, there(c)[0].metadata.name)
        await c.until(lambda: not there(c))
        assert at(rack) == []


@virtual_time
async def test_the_secret_of_a_volume_is_handed_over() -> None:
    rack = Rack()
    async with attaching(rack) as c:

        def refer(found: core.PersistentVolume) -> None:
            reference = found.spec.persistent_volume_source.csi.controller_publish_secret_ref
            reference.name, reference.namespace = "key", "default"

        c.api.seed(core.Secret(metadata=meta.ObjectMeta(name="key", namespace="default"), data={"password": b"open"}))
        await c.client.delete(core.PersistentVolume, "disk")
        made = disk(handle="vol-disk")
        refer(made)
        c.api.seed(made)
        await c.client.create(attachment())
        await c.until(lambda: there(c)[0].status.attached)
        assert dict(rack.asked[0][1].secrets) == {"password": "open"}


@virtual_time
async def test_a_pod_takes_its_volume_along() -> None:
    """Both controllers: a pod goes to another node, and its volume is at one node at a time."""
    rack = Rack()
    async with attaching(rack, AttachDetachController) as c:
        c.api.seed(machine("node-1"), machine("node-2"), driver(), held(), writer())
        await c.until(lambda: at(rack) == ["id-node-1"])
        c.api.seed(writer("late", "node-2"))
        await asyncio.sleep(5)
        assert at(rack) == ["id-node-1"]
        await c.client.delete(core.Pod, "writer", "default", grace_period_seconds=0)
        await c.until(lambda: at(rack) == ["id-node-2"])
        assert rack.calls() == ["ControllerPublishVolume", "ControllerUnpublishVolume", "ControllerPublishVolume"]
