"""Pods that a node does not end to protect itself, and takes while it does. Pure; Kubernetes' rule."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.pods import MIRROR, is_static

SYSTEM_CRITICAL = 2_000_000_000


def is_critical(pod: core.Pod) -> bool:
    """A node's own pods, and those of a priority that only the system gives."""
    return MIRROR in pod.metadata.annotations or is_static(pod) or pod.spec.priority >= SYSTEM_CRITICAL
