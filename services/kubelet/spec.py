"""Small readings of a pod spec."""

from __future__ import annotations

import hashlib
import re

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.runtime.port import PodRef

_REFERENCE = re.compile(
    r"^(?:(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::[0-9]+)?)/)?"
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
    r"(?::[\w][\w.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9]*:[0-9a-fA-F]{32,})?$"
)


def container_hash(spec: core.Container) -> str:
    """What must stay the same for a running container to be the one that is asked for."""
    return hashlib.sha256(f"{spec.name}\0{spec.image}".encode()).hexdigest()[:16]


def ref_of(pod: core.Pod) -> PodRef:
    return PodRef(pod.metadata.namespace, pod.metadata.name, pod.metadata.uid)


def describe(pod: core.Pod) -> str:
    """``name_namespace(uid)``, as messages name a pod."""
    return f"{pod.metadata.name}_{pod.metadata.namespace}({pod.metadata.uid})"


def valid_image(reference: str) -> bool:
    """Whether a reference can be parsed at all."""
    return bool(_REFERENCE.match(reference))


def with_tag(reference: str) -> str:
    """The reference with ``:latest`` where neither tag nor digest is given."""
    return reference if "@" in reference or ":" in reference.rpartition("/")[2] else f"{reference}:latest"


def pull_policy(spec: core.Container) -> str:
    """The policy, with Kubernetes' default for the tag ``latest``."""
    return spec.image_pull_policy or ("Always" if with_tag(spec.image).endswith(":latest") else "IfNotPresent")
