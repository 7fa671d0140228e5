"""What drivers say of their room is kept as objects, by class and place, made once and gone with what they tell of."""

from __future__ import annotations

import asyncio

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.storage.v1 import storage_pb2 as storage
from services.controller.controllers.csicapacity.controller import CsiCapacityController
from services.controller.csi.driver import RPC
from tests.controller.cluster import Cluster
from tests.controller.disks import DRIVER, disk, machine
from tests.controller.drivers import Rack, disks_class, driven
from tests.support.virtual_time import virtual_time

GI = 1 << 30


def telling(*, capacity: bool = True) -> storage.CSIDriver:
    made = storage.CSIDriver()
    made.metadata.name, made.spec.storage_capacity = DRIVER, capacity
    return made


def zoned(name: str, zone: str) -> tuple[core.Node, storage.CSINode]:
    node, told = machine(name), storage.CSINode()
    node.metadata.labels["zone"], told.metadata.name = zone, name
    told.spec.drivers.add(name=DRIVER, node_id=name, topology_keys=["zone"])
    return node, told


def rooms(c: Cluster) -> list[tuple[str, str, str]]:
    """Class, place and how much."""
    found = c.api.all(storage.CSIStorageCapacity)
    return sorted((one.storage_class_name, ",".join(one.node_topology.match_labels.values()), one.capacity.string) for one in found)


@virtual_time
async def test_room_is_told_of_each_class_and_place_and_follows_the_driver() -> None:
    rack = Rack(topology=True)
    rack.shelf.total_bytes, rack.shelf.largest_bytes = 100 * GI, 10 * GI
    async with driven(rack, [CsiCapacityController]) as c:
        c.api.seed(telling(), disks_class(), disks_class("others"), *zoned("n1", "a"), *zoned("n2", "b"), *zoned("n3", "b"))
        await c.until(lambda: len(rooms(c)) == 4)
        assert rooms(c) == [(of, zone, "100Gi") for of in ("disks", "others") for zone in "ab"]
        found = c.api.all(storage.CSIStorageCapacity)[0]
        assert found.maximum_volume_size.string == "10Gi" and found.metadata.labels["csi.storage.k8s.io/drivername"] == DRIVER
        rack.shelf.make("one", 30 * GI)
        c.api.seed(disk("one"))
        await c.until(lambda: {room[2] for room in rooms(c)} == {"70Gi"})
        rack.shelf.make("two", 10 * GI)
        await asyncio.sleep(61)
        assert {room[2] for room in rooms(c)} == {"60Gi"}, "it is asked now and then, whatever is heard"
        await c.client.delete(storage.StorageClass, "others")
        await c.client.delete(storage.CSINode, "n1")
        await c.until(lambda: rooms(c) == [("disks", "b", "60Gi")])


@virtual_time
async def test_a_driver_without_places_has_room_everywhere() -> None:
    rack = Rack()
    async with driven(rack, [CsiCapacityController]) as c:
        c.api.seed(telling(), disks_class())
        await c.until(lambda: len(rooms(c)) == 1)
        found = c.api.all(storage.CSIStorageCapacity)[0]
        assert found.HasField("node_topology") and dict(found.node_topology.match_labels) == {}


@virtual_time
async def test_nothing_is_told_of_a_driver_that_does_not_want_it_or_cannot() -> None:
    for rack, told in ((Rack(), telling(capacity=False)), (Rack(can=[RPC.CREATE_DELETE_VOLUME]), telling())):
        async with driven(rack, [CsiCapacityController]) as c:
            c.api.seed(told, disks_class())
            theirs = storage.CSIStorageCapacity(storage_class_name="disks")
            theirs.metadata.name, theirs.metadata.namespace = "theirs", "default"
            c.api.seed(theirs)
            await asyncio.sleep(5)
            assert rack.asked == [] and [found.metadata.name for found in c.api.all(storage.CSIStorageCapacity)] == ["theirs"]
