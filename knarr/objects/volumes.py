"""Claims, their classes, who uses them, and what keeps volumes and claims from going while they are used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.objects.keys import is_deleting
from knarr.objects.owners import is_controlled_by

CLAIM_PROTECTION, VOLUME_PROTECTION = "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"

# Where a claim or a volume named its class before there was a field for it.
CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
# What makes a class the one for claims that name none.
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
BETA_DEFAULT_CLASS = "storageclass.beta.kubernetes.io/is-default-class"

# Of a claim's amounts, and a volume's capacity.
STORAGE = "storage"
FILESYSTEM, BLOCK = "Filesystem", "Block"
WAIT_FOR_FIRST_CONSUMER = "WaitForFirstConsumer"
ONE_POD = "ReadWriteOncePod"


def storage_class_of(obj: core.PersistentVolumeClaim | core.PersistentVolume) -> str:
    """The name of its class; empty where it has none."""
    annotations = obj.metadata.annotations
    return str(annotations.get(CLASS_ANNOTATION, obj.spec.storage_class_name))


def names_no_class(claim: core.PersistentVolumeClaim) -> bool:
    """Whether it says nothing of classes; an empty class is one, that of volumes without any."""
    return not claim.spec.HasField("storage_class_name") and CLASS_ANNOTATION not in claim.metadata.annotations


def default_of(classes: Iterable[meta.ObjectMeta], *annotations: str) -> str:
    """The name of the class that one of the annotations says it of: the youngest, and of these the first by name; empty without one."""
    marked = [found for found in classes if any(found.annotations.get(annotation) == "true" for annotation in annotations)]
    youngest = sorted(marked, key=lambda found: (-found.creation_timestamp.seconds, found.name))
    return str(youngest[0].name) if youngest else ""


def claim_names(pod: core.Pod) -> Iterator[str]:
    """The claims that a pod's volumes name, or are made from it for generic ephemeral volumes."""
    for volume in pod.spec.volumes:
        if volume.volume_source.HasField("persistent_volume_claim"):
            yield volume.volume_source.persistent_volume_claim.claim_name
        elif volume.volume_source.HasField("ephemeral"):
            yield ephemeral_claim_name(pod, volume)


def ephemeral_claim_name(pod: core.Pod, volume: core.Volume) -> str:
    return f"{pod.metadata.name}-{volume.name}"


def strange(pod: core.Pod, claim: core.PersistentVolumeClaim) -> str:
    """Why a claim is none that was made for the pod: a pod must not come by what somebody else keeps. Empty where it was."""
    if is_controlled_by(claim, pod):
        return ""
    place = f"{claim.metadata.namespace}/{claim.metadata.name}"
    return f"PVC {place} was not created for pod {pod.metadata.namespace}/{pod.metadata.name} (pod is not owner)"


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
