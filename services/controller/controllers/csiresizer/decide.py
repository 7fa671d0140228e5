"""Volumes that grow: to what size, and what a claim says of it. Pure. Specified by Kubernetes' external resizer.

A claim's status says how far it is: its driver's controller part is at work, then the node's part has to be; a size that was asked of a
driver is asked again until it is known what came of it, even when the claim asks for another one meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.quantity import Quantity
from knarr.objects.binding import size_bytes_of, storage_of, wanted_storage
from knarr.objects.conditions import remove_condition, set_condition
from knarr.objects.copies import copy_of
from knarr.objects.growth import CONTROLLER_ERROR, PENDING, RESIZING, clear_growth
from knarr.objects.volumes import STORAGE
from services.controller.csi.amounts import binary
from services.controller.csi.claims import may_change

# What a claim's ``allocatedResourceStatuses`` say of its storage.
CONTROLLER, CONTROLLER_CANNOT = "ControllerResizeInProgress", "ControllerResizeInfeasible"
NODE_PENDING, NODE, NODE_CANNOT = "NodeResizePending", "NodeResizeInProgress", "NodeResizeInfeasible"
WAITS_FOR_NODE = "Waiting for user to (re-)start a pod to finish file system resize of volume on node."
# On a claim: its node has nothing to do.
NO_NODE = "volume.kubernetes.io/node-expansion-not-required"
# On a volume: what the claim had before, which it keeps until its node is done.
BEFORE = "volume.alpha.kubernetes.io/pre-resize-capacity"


@dataclass(frozen=True, slots=True)
class Growth:
    """``wanted`` is to be asked of the driver. ``is_new``: the claim does not say so yet."""

    wanted: Quantity
    is_new: bool


def grows(claim: core.PersistentVolumeClaim, volume: core.PersistentVolume | None, drivers: Collection[str]) -> bool:
    """Whether a claim asks for more than it has, of a volume of one of the drivers."""
    return may_change(claim, volume, drivers) and wanted_storage(claim) > storage_of(claim.status.capacity)


def growth(claim: core.PersistentVolumeClaim, volume: core.PersistentVolume, *, surely_failed: bool) -> Growth | None:
    """What to ask of the driver for a claim that ``grows``; None while its node is at it. ``surely_failed``: what was asked last was not
    done, for certain."""
    asked, has = wanted_storage(claim), storage_of(volume.spec.capacity)
    said = claim.status.allocated_resource_statuses.get(STORAGE, "")
    known = STORAGE in claim.status.allocated_resources
    before = storage_of(claim.status.allocated_resources)
    wanted = asked
    if asked > has:
        if said in (NODE_PENDING, NODE, NODE_CANNOT) and known:
            wanted = before
            if said != NODE_CANNOT and not before > has:
                return None
        elif said == CONTROLLER and known and not surely_failed:
            wanted = before
    elif said in (NODE_PENDING, NODE):
        return None
    elif known:
        wanted = before
    return Growth(wanted, not known or before.value != wanted.value)


def begun(claim: core.PersistentVolumeClaim, growth: Growth, now: datetime) -> core.PersistentVolumeClaim:
    """The claim while its driver is at work."""
    told = copy_of(claim)
    if growth.is_new:
        clear_growth(told.status)
        told.status.allocated_resource_statuses[STORAGE] = CONTROLLER
    told.status.allocated_resources[STORAGE].string = str(growth.wanted)
    set_condition(told.status, RESIZING, True, now=now)
    return told


def failed(claim: core.PersistentVolumeClaim, words: str, now: datetime, *, infeasible: bool) -> core.PersistentVolumeClaim:
    """The claim when its driver has surely not done it. ``infeasible``: and never will."""
    told = copy_of(claim)
    if infeasible:
        told.status.allocated_resource_statuses[STORAGE] = CONTROLLER_CANNOT
    set_condition(told.status, CONTROLLER_ERROR, True, message=f"failed to expand pvc with {words}", now=now)
    return told


def grown(
    volume: core.PersistentVolume, claim: core.PersistentVolumeClaim, size_bytes: int, *, on_node: bool
) -> core.PersistentVolume | None:
    """The volume of the size that its driver answered; None where it is. A volume does not shrink by what a driver says."""
    changed = copy_of(volume)
    if size_bytes > size_bytes_of(volume):
        changed.spec.capacity[STORAGE].string = binary(size_bytes)
    if on_node and BEFORE not in changed.metadata.annotations:
        changed.metadata.annotations[BEFORE] = str(storage_of(claim.status.capacity))
    return None if changed == volume else changed


def handed_over(claim: core.PersistentVolumeClaim, now: datetime) -> core.PersistentVolumeClaim:
    """The claim when its node has to go on."""
    told = copy_of(claim)
    told.status.allocated_resource_statuses[STORAGE] = NODE_PENDING
    remove_condition(told.status, CONTROLLER_ERROR)
    set_condition(told.status, PENDING, True, message=WAITS_FOR_NODE, now=now)
    return told
