"""Claims: which volume each gets, and what is told of it meanwhile. Pure. Specified by Kubernetes' persistent volume controller.

Binding takes four writes: the volume names the claim, the volume is told to be Bound, the claim names the volume, the claim is told to be
Bound. Each follows from what there is, so whoever is cut off between two goes on with the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.objects.binding import (
    BETA_PROVISIONER,
    BIND_COMPLETED,
    BOUND,
    BOUND_BY_CONTROLLER,
    LOST,
    PENDING,
    PROVISIONER,
    SELECTED_NODE,
    YES,
    best_volume,
    claimed,
    is_for,
    is_taken,
    misfit,
)
from knarr.objects.copies import copy_field, copy_of
from knarr.objects.keys import is_deleting
from knarr.objects.volumes import WAIT_FOR_FIRST_CONSUMER, names_no_class, storage_class_of
from services.controller.controllers.persistentvolumebinder.step import NOTHING, Say, Step

# Provisioners of this prefix were parts of Kubernetes itself.
IN_TREE = "kubernetes.io/"
NO_VOLUMES = "no persistent volumes available for this claim and no storage class is set"
WAITING = "waiting for first consumer to be created before binding"
EXTERNAL = (
    "Waiting for a volume to be created either by the external provisioner '{}' or manually by the system administrator. "
    "If volume creation is delayed, please verify that the provisioner is running and correctly registered."
)
LOST_REFERENCE = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
LOST_VOLUME = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
MISBOUND = "Two claims are bound to the same volume, this one is bound incorrectly"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a decision about one claim needs to know.

    ``named`` is the volume that the claim names, if there is one; ``volumes`` are those that it may get: the free ones, and those that are
    kept for it. ``default_class`` is empty where there is none. ``waiting_pods`` use it and have no node.
    """

    named: core.PersistentVolume | None = None
    volumes: Iterable[core.PersistentVolume] = ()
    classes: Mapping[str, storage.StorageClass] = field(default_factory=dict)
    default_class: str = ""
    waiting_pods: Sequence[str] = ()


def decide(claim: core.PersistentVolumeClaim, facts: Facts) -> Step:
    """The next step about a claim."""
    if BIND_COMPLETED in claim.metadata.annotations:
        return _keep(claim, facts.named)
    if is_deleting(claim):
        return NOTHING
    if not claim.spec.volume_name:
        return _find(claim, facts)
    return _take_named(claim, facts.named)


def _find(claim: core.PersistentVolumeClaim, facts: Facts) -> Step:
    found = facts.classes.get(storage_class_of(claim))
    waits = found is not None and found.volume_binding_mode == WAIT_FOR_FIRST_CONSUMER
    volume = best_volume(claim, facts.volumes, only_kept=waits)
    if volume is not None:
        return _bind(claim, volume)
    if names_no_class(claim) and facts.default_class:
        # Only where nothing suits it as it is: no second volume is made beside one that was made for such claims by hand.
        changed = copy_of(claim)
        changed.spec.storage_class_name = facts.default_class
        return Step(changed)
    if waits and SELECTED_NODE not in claim.metadata.annotations:
        return _pending(claim, _waits_for(claim, facts.waiting_pods))
    if name := storage_class_of(claim):
        return _provision(claim, name, found)
    return _pending(claim, Say(claim, "FailedBinding", NO_VOLUMES))


def _take_named(claim: core.PersistentVolumeClaim, volume: core.PersistentVolume | None) -> Step:
    """The claim asks for a volume by its name."""
    if volume is None:
        return _pending(claim)
    if is_taken(volume, claim):
        return _pending(claim, Say(claim, "FailedBinding", f'volume "{volume.metadata.name}" already bound to a different claim.', True))
    if not is_for(volume, claim) and (why := misfit(volume, claim)):
        words = f'Cannot bind to requested volume "{volume.metadata.name}": {why}'
        return _pending(claim, Say(claim, "VolumeMismatch", words, True))
    return _bind(claim, volume)


def _keep(claim: core.PersistentVolumeClaim, volume: core.PersistentVolume | None) -> Step:
    """The claim was bound once: it stays so, or has lost what it had."""
    if not claim.spec.volume_name:
        return _lost(claim, "ClaimLost", LOST_REFERENCE)
    if volume is None:
        return _lost(claim, "ClaimLost", LOST_VOLUME)
    if is_taken(volume, claim):
        return _lost(claim, "ClaimMisbound", MISBOUND)
    return _bind(claim, volume)


def _bind(claim: core.PersistentVolumeClaim, volume: core.PersistentVolume) -> Step:
    """The first of the four writes that is not done."""
    if (changed := claimed(volume, claim)) is not None:
        return Step(changed)
    if volume.status.phase != BOUND:
        return Step(with_phase(volume, BOUND), status=True)
    if (bound := _naming(claim, volume)) is not None:
        return Step(bound)
    told = copy_of(claim)
    status, spec = told.status, volume.spec
    copy_field("access_modes", status, spec)
    if status.phase != BOUND:
        # Later it may differ on purpose: a volume has grown, and its file system has not yet.
        status.phase = BOUND
        copy_field("capacity", status, spec)
        if spec.volume_attributes_class_name:
            status.current_volume_attributes_class_name = spec.volume_attributes_class_name
    return NOTHING if told == claim else Step(told, status=True)


def _naming(claim: core.PersistentVolumeClaim, volume: core.PersistentVolume) -> core.PersistentVolumeClaim | None:
    """The claim as it is when it names the volume; None where it does."""
    changed = copy_of(claim)
    if claim.spec.volume_name != volume.metadata.name:
        changed.spec.volume_name = volume.metadata.name
        changed.metadata.annotations[BOUND_BY_CONTROLLER] = YES
    if BIND_COMPLETED not in claim.metadata.annotations:
        changed.metadata.annotations[BIND_COMPLETED] = YES
    return None if changed == claim else changed


def _provision(claim: core.PersistentVolumeClaim, name: str, found: storage.StorageClass | None) -> Step:
    """Asks whoever makes volumes of the class for one."""
    if found is None:
        return _pending(claim, Say(claim, "ProvisioningFailed", f'storageclass.storage.k8s.io "{name}" not found', True))
    if found.provisioner.startswith(IN_TREE):
        words = f"no volume plugin matched name: {found.provisioner}"
        return _pending(claim, Say(claim, "ProvisioningFailed", words, True))
    said = Say(claim, "ExternalProvisioning", EXTERNAL.format(found.provisioner))
    wanted = {PROVISIONER: found.provisioner, BETA_PROVISIONER: found.provisioner}
    if wanted.items() <= dict(claim.metadata.annotations).items():
        return _pending(claim, said)
    changed = copy_of(claim)
    changed.metadata.annotations.update(wanted)
    return Step(changed, say=said)


def _waits_for(claim: core.PersistentVolumeClaim, pods: Sequence[str]) -> Say:
    if not pods:
        return Say(claim, "WaitForFirstConsumer", WAITING)
    return Say(claim, "WaitForPodScheduled", f"waiting for pod{'s' * (len(pods) > 1)} {','.join(sorted(pods))} to be scheduled")


def _pending(claim: core.PersistentVolumeClaim, say: Say | None = None) -> Step:
    told = _told(claim, PENDING)
    return Step(None if told == claim else told, status=True, say=say)


def _lost(claim: core.PersistentVolumeClaim, reason: str, message: str) -> Step:
    if claim.status.phase == LOST:
        return NOTHING
    return Step(_told(claim, LOST), status=True, say=Say(claim, reason, message, True))


def _told(claim: core.PersistentVolumeClaim, phase: str) -> core.PersistentVolumeClaim:
    """The claim as one that has no volume."""
    told = copy_of(claim)
    told.status.phase = phase
    for name in ("access_modes", "capacity"):
        told.status.ClearField(name)
    return told


def with_phase(volume: core.PersistentVolume, phase: str, message: str = "") -> core.PersistentVolume:
    told = copy_of(volume)
    told.status.phase, told.status.message = phase, message
    return told
