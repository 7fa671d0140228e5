"""Volumes of a driver that the manager asks: each call of it is a write that may be cut short, refused or not answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.objects.csi import attachment_name
from services.controller.controller import Controller
from tests.controller.disks import DRIVER, disk, driver, held, machine
from tests.controller.drivers import DirectDriver, Rack, attributes, disks_class, wanting
from tests.controller.scenarios.steps import alone, step
from tests.support.mishaps import Scenario, World

GI = 1 << 30


def with_driver(
    controller: type[Controller], act: Callable[[World], Awaitable[None]], *others: type[Controller], outside: Callable[[], Rack] = Rack
) -> Scenario:
    """The controller, and a driver whose state counts at the end, as what it was asked against the contract does."""
    return alone(
        controller,
        act,
        *others,
        connect=lambda world: lambda name, endpoint, seconds: DirectDriver(world.outside, world.fate),
        outside=outside,
        told=Rack.told,
        settings={"csi_drivers": {DRIVER: "unix:///nowhere"}},
        # What a life says of an error is its own.
        free=frozenset({"VolumeAttachment.status.attachError", "VolumeAttachment.status.detachError"}),
    )


async def disks(w: World) -> None:
    """Of four claims one goes with its volume, one while it is made, one keeps its volume, one stays; a volume was made by hand."""
    kept = disks_class("kept")
    kept.reclaim_policy = "Retain"
    for found in (disks_class(), kept):
        await w.client.create(found)
    for name, of in (("goes", "disks"), ("stays", "disks"), ("kept", "kept")):
        await w.client.create(wanting(name, of=of))
    w.outside.shelf.make("by-hand")
    by_hand = disk("by-hand", handle="vol-by-hand", claim="gone")
    by_hand.spec.persistent_volume_reclaim_policy = "Delete"
    w.api.seed(by_hand)
    await step()
    for name in ("goes", "kept"):
        await w.client.delete(core.PersistentVolumeClaim, name, "default")
    await w.client.create(wanting("hasty"))
    await w.client.delete(core.PersistentVolumeClaim, "hasty", "default")
    await step(200.0)


async def attached_disks(w: World) -> None:
    """Of two volumes one goes from a node to another, one is deleted while it is attached."""
    rack = w.outside
    for name in ("first", "second"):
        rack.shelf.make(name)
        w.api.seed(disk(name, handle=f"vol-{name}", claim=name))
    for node in ("node-1", "node-2"):
        rack.shelf.nodes[f"id-{node}"] = {}
        made = storage.CSINode()
        made.metadata.name = node
        made.spec.drivers.add(name=DRIVER, node_id=f"id-{node}")
        w.api.seed(made)
    for name in ("first", "second"):
        await w.client.create(_attachment(name, "node-1"))
    await step()
    await w.client.delete(core.PersistentVolume, "second")
    for name in ("first", "second"):
        await w.client.delete(storage.VolumeAttachment, attachment_name(f"vol-{name}", DRIVER, "node-1"))
    await step()
    await w.client.create(_attachment("first", "node-2"))
    await step()


async def growing_disks(w: World) -> None:
    """One grows, and its node has to go on; one grows twice; one cannot grow as it asks."""
    rack = w.outside
    rack.shelf.largest_bytes = 9 * GI
    w.api.seed(disks_class())
    for name in ("one", "two", "huge"):
        rack.shelf.make(name, GI)
        claim, volume = held(name, name), disk(name, handle=f"vol-{name}", claim=name)
        claim.spec.storage_class_name = volume.spec.storage_class_name = "disks"
        claim.status.capacity["storage"].string = "1Gi"
        w.api.seed(volume, claim)
    for name, size in (("one", "2Gi"), ("two", "2Gi"), ("huge", "99Gi")):
        await _ask(w, name, size)
    await step()
    # The node has done the first half of it.
    await w.edit(core.PersistentVolumeClaim, "two", _node_is_done, subresource="status")
    await step()
    await _ask(w, "two", "3Gi")
    await _ask(w, "huge", "4Gi")
    await step(400.0)


async def other_attributes(w: World) -> None:
    """One volume is given other attributes twice; one is asked for what cannot be; a class comes late."""
    w.api.seed(attributes("fast", iops="9"), attributes("odd", colour="red"))
    for name in ("one", "odd", "late"):
        w.outside.shelf.make(name)
        w.api.seed(disk(name, handle=f"vol-{name}", claim=name), held(name, name))
    for name, of in (("one", "fast"), ("odd", "odd"), ("late", "slow")):
        await _name(w, name, of)
    await step()
    await w.client.create(attributes("slow", iops="1"))
    await _name(w, "one", "slow")
    await step(400.0)


async def room(w: World) -> None:
    """A driver with places; a volume comes, a class and a place go."""
    told = driver()
    told.spec.storage_capacity = True
    w.api.seed(told, disks_class(), disks_class("others"))
    for number, zone in enumerate("ab"):
        node, found = machine(f"node-{number}"), storage.CSINode()
        node.metadata.labels["zone"], found.metadata.name = zone, node.metadata.name
        found.spec.drivers.add(name=DRIVER, node_id=node.metadata.name, topology_keys=["zone"])
        w.api.seed(node, found)
    await step()
    w.outside.shelf.make("one", GI)
    w.api.seed(disk("one"))
    await step()
    await w.client.delete(storage.StorageClass, "others")
    await w.client.delete(storage.CSINode, "node-0")
    await step(120.0)


async def _name(w: World, name: str, of: str) -> None:
    await w.edit(core.PersistentVolumeClaim, name, lambda found: setattr(found.spec, "volume_attributes_class_name", of))


def _node_is_done(claim: core.PersistentVolumeClaim) -> None:
    claim.status.capacity["storage"].string = "2Gi"
    claim.status.allocated_resource_statuses.clear()
    del claim.status.conditions[:]


async def _ask(w: World, name: str, size: str) -> None:
    await w.edit(
        core.PersistentVolumeClaim, name, lambda found: found.spec.resources.requests["storage"].CopyFrom(meta.Quantity(string=size))
    )


def _attachment(volume: str, node: str) -> storage.VolumeAttachment:
    made = storage.VolumeAttachment()
    made.metadata.name = attachment_name(f"vol-{volume}", DRIVER, node)
    made.spec.attacher, made.spec.node_name, made.spec.source.persistent_volume_name = DRIVER, node, volume
    return made
