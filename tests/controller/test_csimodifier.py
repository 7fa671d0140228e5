"""Volumes of drivers are given the attributes of the class that their claims name, and claims say how far that is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.conditions import get_condition
from services.controller.controllers.csimodifier.controller import CsiModifierController
from services.controller.csi.driver import RPC, DriverError
from tests.controller.cluster import Cluster
from tests.controller.disks import disk, held
from tests.controller.drivers import Rack, attributes, driven
from tests.support.virtual_time import virtual_time

CODE = grpc.StatusCode


@asynccontextmanager
async def modifying(rack: Rack) -> AsyncIterator[Cluster]:
    rack.shelf.make("disk")
    async with driven(rack, [CsiModifierController]) as c:
        c.api.seed(disk(handle="vol-disk"), held())
        yield c


async def ask(c: Cluster, name: str) -> None:
    await c.edit(core.PersistentVolumeClaim, "data", lambda found: setattr(found.spec, "volume_attributes_class_name", name))


def status(c: Cluster) -> core.PersistentVolumeClaimStatus:
    return c.api.all(core.PersistentVolumeClaim)[0].status


def has(c: Cluster) -> str:
    return str(status(c).current_volume_attributes_class_name)


@virtual_time
async def test_a_volume_is_given_what_its_class_says() -> None:
    rack = Rack()
    async with modifying(rack) as c:
        await c.client.create(attributes("fast", iops="9000"))
        await ask(c, "fast")
        await c.until(lambda: has(c) == "fast")
        assert rack.shelf.disks["vol-disk"].mutable == {"iops": "9000"}
        assert c.api.all(core.PersistentVolume)[0].spec.volume_attributes_class_name == "fast"
        assert not status(c).HasField("modify_volume_status") and list(status(c).conditions) == []
        await asyncio.sleep(30)
        assert rack.calls() == ["ControllerModifyVolume"]
        assert c.events("VolumeModifySuccessful") == ["external resizer modified volume data with vac fast successfully"]


@virtual_time
async def test_a_class_that_is_not_there_is_waited_for() -> None:
    rack = Rack()
    async with modifying(rack) as c:
        await ask(c, "fast")
        await c.until(lambda: status(c).modify_volume_status.status == "Pending")
        await asyncio.sleep(1)
        assert c.events("VolumeModifyFailed") == ['VAC "fast" does not exist.']
        await c.client.create(attributes("fast", iops="1"))
        await c.until(lambda: has(c) == "fast")


@virtual_time
async def test_a_class_of_another_driver_is_not_asked_for() -> None:
    rack = Rack()
    async with modifying(rack) as c:
        await c.client.create(attributes("fast", driver="theirs.example.com"))
        await ask(c, "fast")
        await c.until(lambda: status(c).modify_volume_status.status == "Pending")
        assert rack.asked == []


@virtual_time
async def test_a_driver_that_cannot_is_not_asked() -> None:
    rack = Rack(can=[RPC.CREATE_DELETE_VOLUME])
    async with modifying(rack) as c:
        await c.client.create(attributes("fast"))
        await ask(c, "fast")
        await asyncio.sleep(5)
        assert rack.asked == [] and not status(c).HasField("modify_volume_status")


@virtual_time
async def test_what_can_never_be_is_told_and_another_class_tried() -> None:
    rack = Rack()
    async with modifying(rack) as c:
        await c.client.create(attributes("odd", colour="red"))
        await c.client.create(attributes("fast", iops="1"))
        await ask(c, "odd")
        await c.until(lambda: status(c).modify_volume_status.status == "Infeasible")
        error = get_condition(status(c), "ModifyVolumeError")
        assert error is not None and (error.reason, error.message) == ("InvalidArgument", "no parameter colour can be changed")
        await asyncio.sleep(200)
        assert len(rack.asked) == 1
        await ask(c, "fast")
        await c.until(lambda: has(c) == "fast")
        assert list(status(c).conditions) == []


@pytest.mark.parametrize(
    "fault", [None, DriverError(CODE.ABORTED, "at it"), DriverError(CODE.RESOURCE_EXHAUSTED, "full")], ids=["lost", "pending", "full"]
)
@virtual_time
async def test_what_may_be_at_work_is_asked_again_before_another_class(fault: DriverError | None) -> None:
    rack = Rack(faults={"ControllerModifyVolume": [fault]})
    async with modifying(rack) as c:
        await c.client.create(attributes("fast", iops="9"))
        await c.client.create(attributes("slow", iops="1"))
        await ask(c, "fast")
        await c.until(lambda: rack.asked)
        await ask(c, "slow")
        await c.until(lambda: has(c) == "slow")
        assert [dict(request.mutable_parameters)["iops"] for _, request in rack.asked] == ["9", "9", "1"]


@virtual_time
async def test_what_was_surely_not_done_is_not_asked_again_once_the_claim_names_another() -> None:
    rack = Rack(faults={"ControllerModifyVolume": [DriverError(CODE.INTERNAL, "broken")]})
    async with modifying(rack) as c:
        await c.client.create(attributes("fast", iops="9"))
        await c.client.create(attributes("slow", iops="1"))
        await ask(c, "fast")
        await c.until(lambda: rack.asked)
        await ask(c, "slow")
        await c.until(lambda: has(c) == "slow")
        assert [dict(request.mutable_parameters)["iops"] for _, request in rack.asked] == ["9", "1"]
