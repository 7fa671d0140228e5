"""What becomes of a claim with its pod or its StatefulSet: garbage collection follows who owns it (persistentVolumeClaimRetentionPolicy).

A claim that is kept has no owner. With ``whenDeleted: Delete`` the set owns it. With ``whenScaled: Delete`` the pod does, from the moment
that it is one too many; until then it may be made anew and finds its claim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.type_names import names_of
from knarr.objects.copies import copy_of
from knarr.objects.owners import owner_reference

DELETE = "Delete"


@dataclass(frozen=True, slots=True)
class Retention:
    """``claim`` is a claim with the owners that it shall have; None where it has them. ``conflicts``: another controller has it, so that
    it is left to that one, whatever the policy says."""

    claim: core.PersistentVolumeClaim | None = None
    conflicts: bool = False


def retention(stateful_set: apps.StatefulSet, claim: core.PersistentVolumeClaim, pod: core.Pod, *, condemned: bool) -> Retention:
    """``pod`` is the one that mounts the claim, perhaps not made yet; ``condemned`` says that it is one too many."""
    if _is_stale(claim, stateful_set) or _is_stale(claim, pod):
        # Of a set or a pod of the same name that is gone: the garbage collector knows what to do.
        return Retention()
    uids = {stateful_set.metadata.uid, pod.metadata.uid}
    references = claim.metadata.owner_references
    ours = [ref for ref in references if ref.uid in uids]
    others = [ref for ref in references if ref.uid not in uids]
    conflicts = _has_policy(stateful_set) and any(ref.controller for ref in others)
    wanted = [] if conflicts else _owners(stateful_set, pod, condemned)
    if [ref.uid for ref in ours if ref.controller] == [ref.uid for ref in wanted] and len(ours) == len(wanted):
        return Retention(conflicts=conflicts)
    changed = copy_of(claim)
    del changed.metadata.owner_references[:]
    changed.metadata.owner_references.extend([*others, *wanted])
    return Retention(changed, conflicts)


def own_new(stateful_set: apps.StatefulSet, claim: core.PersistentVolumeClaim) -> None:
    """Gives a claim that is about to be made its owners."""
    claim.metadata.owner_references.extend(_owners(stateful_set, core.Pod(), condemned=False))


def is_leaving(stateful_set: apps.StatefulSet, claim: core.PersistentVolumeClaim, pod: core.Pod) -> bool:
    """Whether a claim goes with a pod of the same name that is gone, so that a new one must wait for that."""
    return bool(stateful_set.spec.persistent_volume_claim_retention_policy.when_scaled == DELETE) and _is_stale(claim, pod)


def _owners(stateful_set: apps.StatefulSet, pod: core.Pod, condemned: bool) -> list[meta.OwnerReference]:
    policy = stateful_set.spec.persistent_volume_claim_retention_policy
    if condemned and policy.when_scaled == DELETE:
        return [owner_reference(pod)]
    return [owner_reference(stateful_set)] if policy.when_deleted == DELETE else []


def _has_policy(stateful_set: apps.StatefulSet) -> bool:
    policy = stateful_set.spec.persistent_volume_claim_retention_policy
    return DELETE in (policy.when_deleted, policy.when_scaled)


def _is_stale(claim: core.PersistentVolumeClaim, owner: Any) -> bool:
    """Whether an object of the owner's kind and name that is another one owns the claim."""
    api_version, kind = names_of(type(owner))
    return any(
        (ref.api_version, ref.kind, ref.name) == (api_version, kind, owner.metadata.name) and ref.uid != owner.metadata.uid
        for ref in claim.metadata.owner_references
    )
