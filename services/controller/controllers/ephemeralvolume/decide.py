"""Generic ephemeral volumes: which claims a pod's volumes want made. Pure; specified by Kubernetes' ephemeral volume controller."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.keys import is_deleting
from knarr.objects.owners import owner_reference
from knarr.objects.volumes import ephemeral_claim_name, strange


@dataclass(frozen=True, slots=True)
class Wanted:
    """The claim of the volume called ``volume``. ``problem``: another has its name."""

    volume: str
    claim: core.PersistentVolumeClaim
    problem: str = ""


def has_ephemeral(pod: core.Pod) -> bool:
    return any(volume.volume_source.HasField("ephemeral") for volume in pod.spec.volumes)


def decide(pod: core.Pod, find: Callable[[str], core.PersistentVolumeClaim | None]) -> Iterator[Wanted]:
    """``find`` answers the claim of a name in the pod's namespace. What is there already and the pod's is left out."""
    if is_deleting(pod):
        return
    for volume in pod.spec.volumes:
        if not volume.volume_source.HasField("ephemeral"):
            continue
        found = find(ephemeral_claim_name(pod, volume))
        problem = strange(pod, found) if found is not None else ""
        if found is None or problem:
            yield Wanted(volume.name, _claim(pod, volume), problem)


def _claim(pod: core.Pod, volume: core.Volume) -> core.PersistentVolumeClaim:
    template = volume.volume_source.ephemeral.volume_claim_template
    made = core.PersistentVolumeClaim(spec=template.spec)
    made.metadata.name, made.metadata.namespace = ephemeral_claim_name(pod, volume), pod.metadata.namespace
    made.metadata.labels.update(template.metadata.labels)
    made.metadata.annotations.update(template.metadata.annotations)
    made.metadata.owner_references.append(owner_reference(pod))
    return made
