"""What a StatefulSet's pods keep for as long as it lives: ordinals, names, and the claims of each of them."""

from __future__ import annotations

from collections.abc import Iterator

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.copies import copy_of
from services.controller.workloads.history import POD_REVISION
from services.controller.workloads.pods import pod_from_template

POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"
# Longer numbers are none of an ordinal.
_MOST_DIGITS = 10


def ordinals(stateful_set: apps.StatefulSet) -> range:
    """Those of the pods that are asked for."""
    start = stateful_set.spec.ordinals.start
    return range(start, start + stateful_set.spec.replicas)


def pod_name(stateful_set: apps.StatefulSet, ordinal: int) -> str:
    return f"{stateful_set.metadata.name}-{ordinal}"


def ordinal_of(stateful_set: apps.StatefulSet, pod: core.Pod) -> int | None:
    """The ordinal in a pod's name; None when the set would never have called a pod so."""
    parent, _, digits = pod.metadata.name.rpartition("-")
    if parent != stateful_set.metadata.name or not digits.isdecimal() or len(digits) > _MOST_DIGITS:
        return None
    ordinal = int(digits)
    return ordinal if digits == str(ordinal) else None


def revision_of(pod: core.Pod) -> str:
    """The name of the revision that a pod is made from; empty where it does not say."""
    return str(pod.metadata.labels.get(POD_REVISION, ""))


def new_pod(stateful_set: apps.StatefulSet, template: core.PodTemplateSpec, revision: str, ordinal: int) -> core.Pod:
    """The pod of an ordinal, made from the template of a revision."""
    pod = pod_from_template(template, stateful_set)
    pod.metadata.name = pod.spec.hostname = pod_name(stateful_set, ordinal)
    pod.spec.subdomain = stateful_set.spec.service_name
    pod.metadata.labels[POD_REVISION] = revision
    _identify(pod, ordinal)
    _mount_claims(stateful_set, pod, ordinal)
    return pod


def repaired(stateful_set: apps.StatefulSet, pod: core.Pod, ordinal: int) -> core.Pod | None:
    """A copy that says which of the set's pods it is and has its claims; None where it does and has already."""
    named = pod.metadata.labels.get(POD_NAME) == pod.metadata.name
    if named and _has_claims(stateful_set, pod, ordinal):
        return None
    copy = copy_of(pod)
    _identify(copy, ordinal)
    if not _has_claims(stateful_set, pod, ordinal):
        _mount_claims(stateful_set, copy, ordinal)
    return copy


def claim_name(stateful_set: apps.StatefulSet, template: str, ordinal: int) -> str:
    return f"{template}-{stateful_set.metadata.name}-{ordinal}"


def claim_templates(stateful_set: apps.StatefulSet, ordinal: int) -> Iterator[tuple[str, core.PersistentVolumeClaim]]:
    """The claims of an ordinal's pod: what each is called, and made from."""
    for template in stateful_set.spec.volume_claim_templates:
        yield claim_name(stateful_set, template.metadata.name, ordinal), template


def new_claim(stateful_set: apps.StatefulSet, template: core.PersistentVolumeClaim, ordinal: int) -> core.PersistentVolumeClaim:
    """The claim of an ordinal's pod, owned by nobody yet; it carries the labels that the set selects by."""
    claim = core.PersistentVolumeClaim(spec=template.spec)
    claim.metadata.name = claim_name(stateful_set, template.metadata.name, ordinal)
    claim.metadata.namespace = stateful_set.metadata.namespace
    claim.metadata.labels.update(template.metadata.labels)
    claim.metadata.labels.update(stateful_set.spec.selector.match_labels)
    claim.metadata.annotations.update(template.metadata.annotations)
    claim.metadata.finalizers.extend(template.metadata.finalizers)
    return claim


def _identify(pod: core.Pod, ordinal: int) -> None:
    pod.metadata.labels[POD_NAME] = pod.metadata.name
    pod.metadata.labels[POD_INDEX] = str(ordinal)


def _mounted(stateful_set: apps.StatefulSet, ordinal: int) -> dict[str, str]:
    """The names of claims by those of the volumes that mount them."""
    return {template.metadata.name: name for name, template in claim_templates(stateful_set, ordinal)}


def _has_claims(stateful_set: apps.StatefulSet, pod: core.Pod, ordinal: int) -> bool:
    if not stateful_set.spec.volume_claim_templates:
        return True
    found = {volume.name: volume.volume_source.persistent_volume_claim.claim_name for volume in pod.spec.volumes}
    return _mounted(stateful_set, ordinal).items() <= found.items()


def _mount_claims(stateful_set: apps.StatefulSet, pod: core.Pod, ordinal: int) -> None:
    """A volume of the template that is called as a claim gives way to it."""
    mounted = _mounted(stateful_set, ordinal)
    others = [volume for volume in pod.spec.volumes if volume.name not in mounted]
    del pod.spec.volumes[:]
    for name, claim in mounted.items():
        pod.spec.volumes.add(name=name).volume_source.persistent_volume_claim.claim_name = claim
    pod.spec.volumes.extend(others)
