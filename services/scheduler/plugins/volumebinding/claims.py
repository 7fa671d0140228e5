"""A pod's claims, sorted by what the scheduler has to do about each."""

from __future__ import annotations

from dataclasses import dataclass, field

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.objects.binding import LOST, NO_PROVISIONER, SELECTED_NODE, is_fully_bound, wanted_storage
from knarr.objects.keys import is_deleting
from knarr.objects.volumes import WAIT_FOR_FIRST_CONSUMER, ephemeral_claim_name, storage_class_of, strange
from services.scheduler.plugin import Cluster, Impossible
from services.scheduler.pod_facts import PodFacts

UNBOUND = "pod has unbound immediate PersistentVolumeClaims"


@dataclass(frozen=True, slots=True)
class Unbound:
    """A claim that waits for its pod to have a node. ``node``: the one that was chosen already; empty: none."""

    claim: core.PersistentVolumeClaim
    found: storage.StorageClass
    node: str = ""

    @property
    def is_provisioned(self) -> bool:
        """Whether somebody makes volumes of its class."""
        return self.found.provisioner not in ("", NO_PROVISIONER)


@dataclass(slots=True)
class Claims:
    """``bound`` are those that have a volume, ``unbound`` those that wait, the smallest first."""

    bound: list[core.PersistentVolumeClaim] = field(default_factory=list)
    unbound: list[Unbound] = field(default_factory=list)


def claims_of(pod: PodFacts, cluster: Cluster) -> Claims:
    """Raises Impossible."""
    found = Claims()
    for volume in pod.pod.spec.volumes:
        source = volume.volume_source
        if source.HasField("persistent_volume_claim"):
            claim = _there(pod, cluster, source.persistent_volume_claim.claim_name)
        elif source.HasField("ephemeral"):
            claim = _made_for(pod, cluster, volume)
        else:
            continue
        _sort(claim, found, cluster)
    found.unbound.sort(key=lambda one: (wanted_storage(one.claim).value, one.claim.metadata.name))
    return found


def _there(pod: PodFacts, cluster: Cluster, name: str) -> core.PersistentVolumeClaim:
    claim = cluster.get(core.PersistentVolumeClaim, pod.key.namespace, name)
    if claim is None:
        raise Impossible(f'persistentvolumeclaim "{name}" not found')
    if claim.status.phase == LOST:
        raise Impossible(f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{claim.spec.volume_name}"')
    if is_deleting(claim):
        raise Impossible(f'persistentvolumeclaim "{name}" is being deleted')
    return claim


def _made_for(pod: PodFacts, cluster: Cluster, volume: core.Volume) -> core.PersistentVolumeClaim:
    name = ephemeral_claim_name(pod.pod, volume)
    if cluster.get(core.PersistentVolumeClaim, pod.key.namespace, name) is None:
        raise Impossible(f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"')
    claim = _there(pod, cluster, name)
    if why := strange(pod.pod, claim):
        raise Impossible(why)
    return claim


def _sort(claim: core.PersistentVolumeClaim, found: Claims, cluster: Cluster) -> None:
    if is_fully_bound(claim):
        found.bound.append(claim)
        return
    known = cluster.get(storage.StorageClass, "", storage_class_of(claim)) if storage_class_of(claim) else None
    if known is None or known.volume_binding_mode != WAIT_FOR_FIRST_CONSUMER or claim.spec.volume_name:
        # One that names a volume is bound by the controller, whatever its class says.
        raise Impossible(UNBOUND)
    found.unbound.append(Unbound(claim, known, claim.metadata.annotations.get(SELECTED_NODE, "")))
