"""Volumes: what phase each is in, and what becomes of one whose claim is gone. Pure.

Whoever made a volume for a claim deletes it again; nobody else can, so one that was made by hand and says Delete, or the deprecated
Recycle, is told to have failed, as Kubernetes tells it where it has no plugin for that.
"""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.binding import AVAILABLE, BOUND, FAILED, PROVISIONED_BY, RELEASED, unclaimed, volume_mode
from knarr.objects.csi import source_of
from services.controller.controllers.persistentvolumebinder.decide import IN_TREE, with_phase
from services.controller.controllers.persistentvolumebinder.step import NOTHING, Say, Step

NO_RECYCLER = "No recycler plugin found for the volume!"


def decide_volume(volume: core.PersistentVolume, claim: core.PersistentVolumeClaim | None) -> Step:
    """The next step about a volume; ``claim`` is the one that it names, by uid too, and None where that is certainly gone."""
    if not volume.spec.HasField("claim_ref") or not volume.spec.claim_ref.uid:
        return _phase(volume, AVAILABLE)
    if claim is None:
        return _reclaim(volume)
    if not claim.spec.volume_name:
        if volume_mode(volume) != volume_mode(claim):
            name = f"{claim.metadata.namespace}/{claim.metadata.name}"
            words = f'Cannot bind PersistentVolume to requested PersistentVolumeClaim "{name}" due to incompatible volumeMode.'
            return Step(say=Say(volume, "VolumeMismatch", words, True))
        return NOTHING
    if claim.spec.volume_name == volume.metadata.name:
        return _phase(volume, BOUND)
    if PROVISIONED_BY in volume.metadata.annotations and volume.spec.persistent_volume_reclaim_policy == "Delete":
        # It was made for this claim, which has another one by now.
        return _reclaim(volume)
    return Step(unclaimed(volume))


def is_let_go(volume: core.PersistentVolume) -> bool:
    return volume.status.phase in (RELEASED, FAILED)


def _reclaim(volume: core.PersistentVolume) -> Step:
    if not is_let_go(volume):
        return _phase(volume, RELEASED)
    if volume.status.phase == FAILED:
        return NOTHING
    match volume.spec.persistent_volume_reclaim_policy:
        case "Delete" if _is_made_elsewhere(volume):
            return NOTHING
        case "Delete":
            name = volume.metadata.name
            words = f'error getting deleter volume plugin for volume "{name}": no deletable volume plugin matched'
            return _failed(volume, "VolumeFailedDelete", words)
        case "Recycle":
            return _failed(volume, "VolumeFailedRecycle", NO_RECYCLER)
        case _:
            return NOTHING


def _is_made_elsewhere(volume: core.PersistentVolume) -> bool:
    """A driver's are removed by whoever speaks for the driver, also those that were made by hand."""
    if source_of(volume) is not None:
        return True
    provisioner = volume.metadata.annotations.get(PROVISIONED_BY, "")
    return bool(provisioner) and not provisioner.startswith(IN_TREE)


def _phase(volume: core.PersistentVolume, phase: str) -> Step:
    return NOTHING if volume.status.phase == phase else Step(with_phase(volume, phase), status=True)


def _failed(volume: core.PersistentVolume, reason: str, words: str) -> Step:
    return Step(with_phase(volume, FAILED, words), status=True, say=Say(volume, reason, words, True))
