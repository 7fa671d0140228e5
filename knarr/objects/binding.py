"""Which volume a claim may have, and what makes the two each other's. Pure.

A claim and a volume are bound when each names the other. The volume's side is written first: it has room for one claim, and a write of it
that comes second is refused as a conflict, so no volume is ever given to two. Specified by Kubernetes' persistent volume controller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.quantity import Quantity
from knarr.machinery.selectors import label_selector
from knarr.objects.copies import copy_of
from knarr.objects.keys import is_deleting
from knarr.objects.node_selection import matches_selector
from knarr.objects.totals import exactly
from knarr.objects.volumes import FILESYSTEM, STORAGE, storage_class_of

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
# On a claim: the node for whose pod its volume is to be made, and who is to make it (the second by its older name).
SELECTED_NODE = "volume.kubernetes.io/selected-node"
PROVISIONER, BETA_PROVISIONER = "volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"
YES = "yes"
# What a class names that has volumes made by nobody.
NO_PROVISIONER = "kubernetes.io/no-provisioner"
NOTHING = meta.Quantity()
AVAILABLE, BOUND, RELEASED, FAILED, PENDING, LOST = "Available", "Bound", "Released", "Failed", "Pending", "Lost"


def storage_of(amounts: Mapping[str, meta.Quantity]) -> Quantity:
    """The storage among a volume's or a claim's amounts; nothing where there is none."""
    return exactly(amounts.get(STORAGE, NOTHING))


def size_bytes_of(volume: core.PersistentVolume) -> int:
    """A volume's capacity in whole bytes."""
    return storage_of(volume.spec.capacity).whole


def wanted_storage(claim: core.PersistentVolumeClaim) -> Quantity:
    return storage_of(claim.spec.resources.requests)


def is_for(volume: core.PersistentVolume, claim: core.PersistentVolumeClaim) -> bool:
    """Whether the volume is claimed by this claim, or is kept for one of its name."""
    if not volume.spec.HasField("claim_ref"):
        return False
    reference, metadata = volume.spec.claim_ref, claim.metadata
    return (reference.namespace, reference.name) == (metadata.namespace, metadata.name) and reference.uid in ("", metadata.uid)


def is_fully_bound(claim: core.PersistentVolumeClaim) -> bool:
    return bool(claim.spec.volume_name) and BIND_COMPLETED in claim.metadata.annotations


def can_reach(volume: core.PersistentVolume, node: core.Node) -> bool:
    """Whether the volume can be used on a node."""
    affinity = volume.spec.node_affinity
    return not affinity.HasField("required") or matches_selector(affinity.required, node)


def misfit(volume: core.PersistentVolume, claim: core.PersistentVolumeClaim, *, kept: bool = False) -> str:
    """Why a volume cannot be the claim's, in Kubernetes' words; empty where it can. ``kept``: for it, so its class says nothing."""
    if wanted_storage(claim) > storage_of(volume.spec.capacity):
        return "requested PV is too small"
    if not kept and storage_class_of(volume) != storage_class_of(claim):
        return "storageClassName does not match"
    if volume_mode(volume) != volume_mode(claim):
        return "incompatible volumeMode"
    if not set(claim.spec.access_modes) <= set(volume.spec.access_modes):
        return "incompatible accessMode"
    return "" if _attributes_class(volume) == _attributes_class(claim) else "volumeAttributesClassName does not match"


def best_volume(
    claim: core.PersistentVolumeClaim, volumes: Iterable[core.PersistentVolume], *, only_kept: bool = False
) -> core.PersistentVolume | None:
    """The volume that is kept for the claim, else the smallest that is free and suits it; of equals the one with fewer access modes, then
    the first by name. ``only_kept``: a free one is not to be taken."""
    return next(iter(suiting_volumes(claim, volumes, only_kept=only_kept)), None)


def suiting_volumes(
    claim: core.PersistentVolumeClaim, volumes: Iterable[core.PersistentVolume], *, only_kept: bool = False
) -> list[core.PersistentVolume]:
    """Those that the claim may have, the best first, wherever they can be used. Where one is kept for it, no other is among them."""
    # Most volumes of a cluster are others': that is seen at once.
    there = [found for found in volumes if not is_taken(found, claim) and not is_deleting(found)]
    kept = [found for found in there if is_for(found, claim) and not misfit(found, claim, kept=True)]
    free = [] if kept or only_kept else [found for found in there if is_free(found) and _suits(found, claim)]
    return sorted(kept or free, key=_rank)


def is_taken(volume: core.PersistentVolume, claim: core.PersistentVolumeClaim) -> bool:
    """Whether it is another claim's."""
    return bool(volume.spec.HasField("claim_ref")) and not is_for(volume, claim)


def is_free(volume: core.PersistentVolume) -> bool:
    """Whether any claim may have it."""
    return not volume.spec.HasField("claim_ref") and volume.status.phase == AVAILABLE


def claimed(volume: core.PersistentVolume, claim: core.PersistentVolumeClaim) -> core.PersistentVolume | None:
    """The volume as it is when it names the claim; None where it does."""
    changed = copy_of(volume)
    if not is_for(volume, claim):
        changed.metadata.annotations[BOUND_BY_CONTROLLER] = YES
    if changed.spec.claim_ref.uid != claim.metadata.uid:
        refer_to_claim(changed, claim)
    return None if changed == volume else changed


def refer_to_claim(volume: core.PersistentVolume, claim: core.PersistentVolumeClaim) -> None:
    """Makes the volume name the claim."""
    reference, metadata = volume.spec.claim_ref, claim.metadata
    reference.api_version, reference.kind = "v1", "PersistentVolumeClaim"
    reference.namespace, reference.name, reference.uid = metadata.namespace, metadata.name, metadata.uid
    reference.resource_version = metadata.resource_version


def unclaimed(volume: core.PersistentVolume) -> core.PersistentVolume:
    """The volume without its claim; one that somebody kept for a claim of that name stays so."""
    changed = copy_of(volume)
    if BOUND_BY_CONTROLLER in changed.metadata.annotations:
        del changed.metadata.annotations[BOUND_BY_CONTROLLER]
        changed.spec.ClearField("claim_ref")
    else:
        changed.spec.claim_ref.ClearField("uid")
        changed.spec.claim_ref.ClearField("resource_version")
    return changed


def volume_mode(obj: core.PersistentVolume | core.PersistentVolumeClaim) -> str:
    """Filesystem or Block."""
    return obj.spec.volume_mode or FILESYSTEM


def _suits(volume: core.PersistentVolume, claim: core.PersistentVolumeClaim) -> bool:
    """Whether a claim that names no volume may have this one, which is kept for nobody."""
    if misfit(volume, claim):
        return False
    return not claim.spec.HasField("selector") or label_selector(claim.spec.selector).matches(volume.metadata.labels)


def _attributes_class(obj: core.PersistentVolume | core.PersistentVolumeClaim) -> str:
    return str(obj.spec.volume_attributes_class_name)


def _rank(volume: core.PersistentVolume) -> tuple[object, ...]:
    return storage_of(volume.spec.capacity).value, len(set(volume.spec.access_modes)), volume.metadata.name
