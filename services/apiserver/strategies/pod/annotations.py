"""Rules about annotations that are more than words: the one that makes a pod the mirror of what its node runs by itself, and profiles."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, forbidden, invalid
from knarr.objects.pods import MIRROR

PATH = Path("metadata").child("annotations")
# What was said of AppArmor, by container, before there were fields for it.
APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"


def validate_pod_annotations(pod: core.Pod) -> list[Cause]:
    if MIRROR not in pod.metadata.annotations or pod.spec.node_name:
        return []
    value = pod.metadata.annotations[MIRROR]
    return [invalid(PATH.key(MIRROR), value, "must set spec.nodeName if mirror pod annotation is set")]


def validate_annotation_changes(new: core.Pod, old: core.Pod) -> list[Cause]:
    """Kubelets delete a mirror that shows none of their pods: nobody may make one of a pod that runs."""
    before, after = old.metadata.annotations, new.metadata.annotations
    causes: list[Cause] = []
    for key in sorted({*before, *after}):
        word = "mirror pod annotation" if key == MIRROR else "AppArmor annotations" if key.startswith(APP_ARMOR) else ""
        if not word or (key in before and key in after and before[key] == after[key]):
            continue
        causes.append(forbidden(PATH.key(key), f"may not {'remove or update' if key in before else 'add'} {word}"))
    return causes
