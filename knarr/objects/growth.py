"""What a claim says while its volume grows, and when that is over. The conditions are Kubernetes'."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.conditions import remove_condition
from knarr.objects.copies import copy_of
from knarr.objects.volumes import STORAGE

RESIZING, PENDING, CONTROLLER_ERROR, NODE_ERROR = "Resizing", "FileSystemResizePending", "ControllerResizeError", "NodeResizeError"


def clear_growth(status: core.PersistentVolumeClaimStatus) -> None:
    """Nothing is said of it any more."""
    for kind in (RESIZING, PENDING, CONTROLLER_ERROR, NODE_ERROR):
        remove_condition(status, kind)


def grown(claim: core.PersistentVolumeClaim, size: str) -> core.PersistentVolumeClaim:
    """The claim of a volume that has grown to ``size``, a quantity, so that nobody has to do anything."""
    told = copy_of(claim)
    told.status.capacity[STORAGE].string = size
    told.status.allocated_resource_statuses.pop(STORAGE, None)
    clear_growth(told.status)
    return told
