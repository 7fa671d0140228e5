"""Claims, their classes, who uses them, and what keeps volumes and claims from going while they are used."""

from __future__ import annotations

from collections.abc import Iterator

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.keys import is_deleting
from knarr.objects.owners import is_controlled_by

CLAIM_PROTECTION, VOLUME_PROTECTION = "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"

# Where a claim or a volume named its class before there was a field for it.
CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"


def storage_class_of(claim: core.PersistentVolumeClaim) -> str:
    """The name of its class; empty where it has none."""
    annotations = claim.metadata.annotations
    return str(annotations.get(CLASS_ANNOTATION, claim.spec.storage_class_name))


def claim_names(pod: core.Pod) -> Iterator[str]:
    """The claims that a pod's volumes name, or are made from it for generic ephemeral volumes."""
    for volume in pod.spec.volumes:
        if volume.volume_source.HasField("persistent_volume_claim"):
            yield volume.volume_source.persistent_volume_claim.claim_name
        elif volume.volume_source.HasField("ephemeral"):
            yield ephemeral_claim_name(pod, volume)


def ephemeral_claim_name(pod: core.Pod, volume: core.Volume) -> str:
    return f"{pod.metadata.name}-{volume.name}"


def uses_claim(pod: core.Pod, claim: core.PersistentVolumeClaim) -> bool:
    """Whether a pod of the claim's namespace keeps it: it has a node. One without can still be kept from starting.

    What was made for the pod alone goes with it, even if its finalizers keep the pod itself.
    """
    if not pod.spec.node_name:
        return False
    name = claim.metadata.name
    for volume in pod.spec.volumes:
        source = volume.volume_source
        if source.HasField("persistent_volume_claim") and source.persistent_volume_claim.claim_name == name:
            return True
        if source.HasField("ephemeral") and ephemeral_claim_name(pod, volume) == name and is_controlled_by(claim, pod):
            return not is_shut_down(pod)
    return False


def is_shut_down(pod: core.Pod) -> bool:
    """Whether its kubelet is done with it, or somebody has said that it is."""
    metadata = pod.metadata
    return is_deleting(pod) and metadata.HasField("deletion_grace_period_seconds") and not metadata.deletion_grace_period_seconds
