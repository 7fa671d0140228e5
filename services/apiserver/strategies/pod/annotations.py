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
    """Of a new pod: later they cannot be changed."""
    causes: list[Cause] = []
    if MIRROR in pod.metadata.annotations and not pod.spec.node_name:
        value = pod.metadata.annotations[MIRROR]
        causes.append(invalid(PATH.key(MIRROR), value, "must set spec.nodeName if mirror pod annotation is set"))
    profiled = [key for key in pod.metadata.annotations if key.startswith(APP_ARMOR)]
    if profiled:
        # No new pod has ephemeral containers.
        known = {container.name for container in (*pod.spec.init_containers, *pod.spec.containers)}
        for key in sorted(profiled):
            name = key.removeprefix(APP_ARMOR)
            causes += [] if name in known else [invalid(PATH.key(key), name, "container not found")]
            causes += _profile(key, pod.metadata.annotations[key])
    return causes


def _profile(key: str, profile: str) -> list[Cause]:
    if profile in ("", "runtime/default", "unconfined") or profile.startswith("localhost/"):
        return []
    return [invalid(PATH.key(key), profile, f'invalid AppArmor profile name: "{profile}"')]


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
