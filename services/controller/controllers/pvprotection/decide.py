"""Volumes: whether one is used. Specified by Kubernetes' controller of the same name."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core


def is_used(volume: core.PersistentVolume) -> bool:
    """Whether a claim has it."""
    return bool(volume.status.phase == "Bound")
