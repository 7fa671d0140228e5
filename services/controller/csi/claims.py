"""Claims whose volumes are those of drivers that the manager speaks for. Pure."""

from __future__ import annotations

from collections.abc import Collection

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.binding import BOUND
from knarr.objects.csi import source_of
from knarr.objects.keys import is_deleting


def has_volume(claim: core.PersistentVolumeClaim, volume: core.PersistentVolume | None, drivers: Collection[str]) -> bool:
    """Whether a volume is a claim's, and one of the drivers'."""
    source = None if volume is None else source_of(volume)
    if volume is None or source is None:
        return False
    return source.driver in drivers and bool(volume.spec.claim_ref.uid == claim.metadata.uid)


def may_change(claim: core.PersistentVolumeClaim, volume: core.PersistentVolume | None, drivers: Collection[str]) -> bool:
    """Whether a driver may be asked to change what a claim has."""
    return has_volume(claim, volume, drivers) and claim.status.phase == BOUND and not is_deleting(claim)
