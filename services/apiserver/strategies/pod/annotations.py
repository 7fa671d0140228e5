"""Rules about annotations that are more than words: the one that makes a pod the mirror of what its node runs by itself, and profiles."""

from __future__ import annotations

import re
from collections.abc import Mapping

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import NO_INTEGER, Path, forbidden, invalid
from knarr.objects.pods import MIRROR

PATH = Path("metadata").child("annotations")
# What was said of AppArmor, by container, before there were fields for it.
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_COST = re.compile(r"-[0-9]{1,18}|0|[1-9][0-9]{0,17}", re.ASCII)
APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"


def validate_pod_annotations(annotations: Mapping[str, str], spec: core.PodSpec, path: Path = PATH) -> list[Cause]:
    """Of a new pod, or of a template of pods."""
    causes: list[Cause] = []
    if MIRROR in annotations and not spec.node_name:
        causes.append(invalid(path.key(MIRROR), annotations[MIRROR], "must set spec.nodeName if mirror pod annotation is set"))
    cost = annotations.get(DELETION_COST)
    if cost is not None and not (_COST.fullmatch(cost) and -(2**31) <= int(cost) < 2**31):
        causes.append(invalid(path.key(DELETION_COST), cost, NO_INTEGER))
    profiled = [key for key in annotations if key.startswith(APP_ARMOR)]
    if profiled:
        # No new pod has ephemeral containers.
        known = {container.name for container in (*spec.init_containers, *spec.containers)}
        for key in sorted(profiled):
            name = key.removeprefix(APP_ARMOR)
            causes += [] if name in known else [invalid(path.key(key), name, "container not found")]
            causes += _profile(annotations[key], path.key(key))
    return causes


def _profile(profile: str, path: Path) -> list[Cause]:
    if profile in ("", "runtime/default", "unconfined") or profile.startswith("localhost/"):
        return []
    return [invalid(path, profile, f'invalid AppArmor profile name: "{profile}"')]


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
