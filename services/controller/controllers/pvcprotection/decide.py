"""Claims: whether a pod uses one. Specified by Kubernetes' controller of the same name."""

from __future__ import annotations

from collections.abc import Iterable

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.volumes import uses_claim


def is_used(claim: core.PersistentVolumeClaim, pods: Iterable[core.Pod]) -> bool:
    """``pods`` are of the claim's namespace."""
    return any(uses_claim(pod, claim) for pod in pods)
