"""Small readings of a pod spec."""

from __future__ import annotations

import hashlib

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.images import with_tag
from services.kubelet.runtime.plan import PodRef


def container_hash(spec: core.Container) -> str:
    """What must stay the same for a running container to be the one that is asked for."""
    return hashlib.sha256(f"{spec.name}\0{spec.image}".encode()).hexdigest()[:16]


def ref_of(pod: core.Pod) -> PodRef:
    return PodRef(pod.metadata.namespace, pod.metadata.name, pod.metadata.uid)


def describe(pod: core.Pod) -> str:
    """``name_namespace(uid)``, as messages name a pod."""
    return f"{pod.metadata.name}_{pod.metadata.namespace}({pod.metadata.uid})"


def pull_policy(spec: core.Container) -> str:
    """The policy, with Kubernetes' default for the tag ``latest``."""
    return spec.image_pull_policy or ("Always" if with_tag(spec.image).endswith(":latest") else "IfNotPresent")
