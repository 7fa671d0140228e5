"""Volumes of drivers grow with their claims: what is asked, what a claim says of it meanwhile, and what goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.objects.conditions import get_condition
from services.controller.controllers.csiresizer.controller import CsiResizerController
from services.controller.controllers.csiresizer.decide import BEFORE, NO_NODE, growth
from services.controller.csi.driver import RPC, DriverError
from tests.controller.cluster import Cluster
from tests.controller.disks import disk, held
from tests.controller.drivers import Rack, disks_class, driven
from tests.support.virtual_time import virtual_time

CODE = grpc.StatusCode
GI = 1 << 30


@asynccontextmanager
async def growing(rack: Rack) -> AsyncIterator[Cluster]:
    rack.shelf.make("disk", GI)
    async with driven(rack, [CsiResizerController]) as c:
        claim, volume = held(), disk(handle="vol-disk")
        claim.spec.storage_class_name = volume.spec.storage_class_name = "disks"
        claim.status.capacity["storage"].string = "1Gi"
        c.api.seed(disks_class(), volume, claim)
        yield c


async def ask(c: Cluster, size: str) -> None:
    await c.edit(
        core.PersistentVolumeClaim, "data", lambda found: found.spec.resources.requests["storage"].CopyFrom(meta.Quantity(string=size))
    )


def claim(c: Cluster) -> core.PersistentVolumeClaim:
    return c.api.all(core.PersistentVolumeClaim)[0]


def said(c: Cluster) -> str:
    return str(claim(c).status.allocated_resource_statuses.get("storage", ""))


def size(c: Cluster) -> str:
    return str(c.api.all(core.PersistentVolume)[0].spec.capacity["storage"].string)


@virtual_time
async def test_a_volume_grows_and_its_node_is_told() -> None:
    rack = Rack(node_expansion=True)
    async with growing(rack) as c:
        await ask(c, "3Gi")
        await c.until(lambda: said(c) == "NodeResizePending")
        assert size(c) == "3Gi" and claim(c).status.capacity["storage"].string == "1Gi"
        assert claim(c).status.allocated_resources["storage"].string == "3Gi"
        pending = get_condition(claim(c).status, "FileSystemResizePending")
        assert pending is not None and pending.message.startswith("Waiting for user to (re-)start a pod")
        assert c.api.all(core.PersistentVolume)[0].metadata.annotations[BEFORE] == "1Gi"
        await asyncio.sleep(60)
        assert rack.calls() == ["ControllerExpandVolume"] and rack.shelf.disks["vol-disk"].size_bytes == 3 * GI
        assert c.events("FileSystemResizeRequired") == ["Require file system resize of volume on node"]

        def done(found: core.PersistentVolumeClaim) -> None:
            found.status.capacity["storage"].string = "3Gi"
            found.status.allocated_resource_statuses.clear()

        await c.edit(core.PersistentVolumeClaim, "data", done, subresource="status")
        await c.until(lambda: BEFORE not in c.api.all(core.PersistentVolume)[0].metadata.annotations)


@virtual_time
async def test_what_another_drivers_resizer_notes_is_left_alone() -> None:
    rack = Rack()
    async with growing(rack) as c:
        theirs, volume = held("theirs", "other"), disk("other", claim="theirs")
        volume.spec.persistent_volume_source.csi.driver = "other.example.com"
        volume.metadata.annotations[BEFORE] = "1Gi"
        theirs.status.capacity["storage"].string = "1Gi"
        c.api.seed(volume, theirs)
        await asyncio.sleep(5)
        found = next(one for one in c.api.all(core.PersistentVolume) if one.metadata.name == "other")
        assert found.metadata.annotations[BEFORE] == "1Gi" and rack.asked == []


@virtual_time
async def test_a_volume_grows_without_its_node() -> None:
    rack = Rack(node_expansion=False)
    async with growing(rack) as c:
        await ask(c, "3Gi")
        await c.until(lambda: claim(c).status.capacity["storage"].string == "3Gi")
        assert said(c) == "" and list(claim(c).status.conditions) == [] and claim(c).metadata.annotations[NO_NODE] == "true"
        await asyncio.sleep(1)
        assert c.events("VolumeResizeSuccessful") == ["Resize volume succeeded"]
        await ask(c, "4Gi")
        await c.until(lambda: claim(c).status.capacity["storage"].string == "4Gi")


@virtual_time
async def test_volumes_of_nodes_alone_are_handed_over_at_once() -> None:
    rack = Rack(can=[RPC.CREATE_DELETE_VOLUME], node_expansion=True)
    async with growing(rack) as c:
        await ask(c, "3Gi")
        await c.until(lambda: said(c) == "NodeResizePending")
        assert size(c) == "3Gi" and rack.asked == []


@virtual_time
async def test_a_driver_that_cannot_is_not_asked() -> None:
    rack = Rack(can=[RPC.CREATE_DELETE_VOLUME], node_expansion=False)
    async with growing(rack) as c:
        await ask(c, "3Gi")
        await asyncio.sleep(5)
        assert said(c) == "" and size(c) == "1Gi"


@pytest.mark.parametrize(
    "fault", [None, DriverError(CODE.ABORTED, "at it"), DriverError(CODE.INTERNAL, "broken")], ids=["lost", "pending", "broken"]
)
@virtual_time
async def test_a_call_is_repeated_until_it_is_done(fault: DriverError | None) -> None:
    rack = Rack(node_expansion=False, faults={"ControllerExpandVolume": [fault] * 3})
    async with growing(rack) as c:
        await ask(c, "3Gi")
        await c.until(lambda: claim(c).status.capacity["storage"].string == "3Gi")
        assert list(claim(c).status.conditions) == []
        await asyncio.sleep(1)
        assert c.events("VolumeResizeFailed")[0].startswith(
            'resize volume "disk" by resizer "disks.example.com" failed: rpc error: code = '
        )


@virtual_time
async def test_what_can_never_be_is_told_and_another_size_tried() -> None:
    rack = Rack(node_expansion=False)
    rack.shelf.largest_bytes = 5 * GI
    async with growing(rack) as c:
        await ask(c, "9Gi")
        await c.until(lambda: said(c) == "ControllerResizeInfeasible")
        error = get_condition(claim(c).status, "ControllerResizeError")
        assert error is not None and error.message.startswith("failed to expand pvc with rpc error: code = OutOfRange")
        asked = len(rack.asked)
        await asyncio.sleep(200)
        assert len(rack.asked) <= asked + 1
        await ask(c, "4Gi")
        await c.until(lambda: claim(c).status.capacity["storage"].string == "4Gi")
        assert said(c) == "" and list(claim(c).status.conditions) == []


@virtual_time
async def test_what_may_be_at_work_is_asked_again_before_another_size() -> None:
    away = DriverError(CODE.UNAVAILABLE, "away")
    rack = Rack(node_expansion=False, faults={"ControllerExpandVolume": [None, away, away]})
    async with growing(rack) as c:
        await ask(c, "3Gi")
        await c.until(lambda: rack.asked)
        await ask(c, "2Gi")
        await c.until(lambda: claim(c).status.capacity["storage"].string == "3Gi")
        assert {request.capacity_range.required_bytes for _, request in rack.asked} == {3 * GI}


def test_a_node_that_is_at_it_is_waited_for() -> None:
    wanting, volume = held(), disk()
    wanting.spec.resources.requests["storage"].string = "5Gi"
    volume.spec.capacity["storage"].string = "3Gi"
    wanting.status.allocated_resources["storage"].string = "3Gi"
    wanting.status.allocated_resource_statuses["storage"] = "NodeResizeInProgress"
    assert growth(wanting, volume, surely_failed=False) is None
    wanting.status.allocated_resource_statuses["storage"] = "NodeResizeInfeasible"
    found = growth(wanting, volume, surely_failed=False)
    assert found is not None and str(found.wanted) == "3Gi"
