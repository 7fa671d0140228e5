"""Volumes that are given other attributes: by which class, and what a claim says of it. Pure. Specified by Kubernetes' external resizer.

A class that a driver was asked for is asked for again until it is known what came of it, even when the claim names another one meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import grpc

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.conditions import remove_condition, set_condition
from knarr.objects.copies import copy_of
from services.controller.csi.claims import may_change
from services.controller.csi.driver import DriverError

PENDING, IN_PROGRESS, INFEASIBLE = "Pending", "InProgress", "Infeasible"
MODIFYING, FAILED = "ModifyingVolume", "ModifyVolumeError"


def target(
    claim: core.PersistentVolumeClaim, volume: core.PersistentVolume | None, drivers: Collection[str], *, surely_failed: bool
) -> str:
    """The class whose attributes a driver is to give the volume; empty: none. ``surely_failed``: it was not given the last one."""
    if not may_change(claim, volume, drivers):
        return ""
    status = claim.status.modify_volume_status
    wanted, begun = claim.spec.volume_attributes_class_name, status.status == IN_PROGRESS
    if begun and not (wanted and surely_failed):
        return str(status.target_volume_attributes_class_name)
    has = claim.status.current_volume_attributes_class_name
    return str(wanted) if wanted and (wanted != has or claim.status.HasField("modify_volume_status")) else ""


def pending(claim: core.PersistentVolumeClaim) -> core.PersistentVolumeClaim:
    """The claim while there is no such class."""
    told = copy_of(claim)
    told.status.modify_volume_status.status = PENDING
    return told


def begun(claim: core.PersistentVolumeClaim, name: str, now: datetime) -> core.PersistentVolumeClaim:
    """The claim while its driver is at work."""
    told = copy_of(claim)
    told.status.modify_volume_status.status = IN_PROGRESS
    told.status.modify_volume_status.target_volume_attributes_class_name = name
    set_condition(told.status, MODIFYING, True, message=f'Modifying volume to "{name}" is in progress.', now=now)
    return told


def failed(claim: core.PersistentVolumeClaim, name: str, error: DriverError, now: datetime) -> core.PersistentVolumeClaim:
    """The claim when its driver has not done it, or not told."""
    told = copy_of(claim)
    told.status.modify_volume_status.status = INFEASIBLE if error.code is grpc.StatusCode.INVALID_ARGUMENT else IN_PROGRESS
    ends = "is still in progress." if error.is_undecided else "failed. Waiting for retry."
    set_condition(told.status, MODIFYING, True, message=f'Modifying volume to "{name}" {ends}', now=now)
    set_condition(told.status, FAILED, True, reason=error.name, message=error.details, now=now)
    return told


def modified(volume: core.PersistentVolume, name: str) -> core.PersistentVolume | None:
    """The volume with the class; None where it has it."""
    changed = copy_of(volume)
    changed.spec.volume_attributes_class_name = name
    return None if changed == volume else changed


def finished(claim: core.PersistentVolumeClaim, name: str) -> core.PersistentVolumeClaim:
    told = copy_of(claim)
    told.status.ClearField("modify_volume_status")
    told.status.current_volume_attributes_class_name = name
    for kind in (MODIFYING, FAILED):
        remove_condition(told.status, kind)
    return told
