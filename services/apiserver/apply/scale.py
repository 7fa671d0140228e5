"""Managers as those who apply a Scale see them: whoever owns the replicas of the object owns those of its Scale."""

from __future__ import annotations

from typing import Any

from knarr.api.autoscaling.v1 import autoscaling_pb2 as autoscaling
from knarr.machinery.fieldsets import fields as sets
from knarr.machinery.fieldsets.descriptors import shape_of
from knarr.machinery.fieldsets.fields import EMPTY, Fields
from knarr.machinery.fieldsets.managers import Managed, Owned
from knarr.machinery.fieldsets.shape import Shape
from knarr.machinery.schema import descriptor_of

API_VERSION, KIND = NAMES = ("autoscaling/v1", "Scale")
REPLICAS = ("f:spec", "f:replicas")
_REPLICAS = sets.of_path(*REPLICAS)


class ScaleVersions:
    """A Scale has one version; only its spec can be written."""

    def shape(self, api_version: str) -> Shape | None:
        return shape_of(descriptor_of(autoscaling.Scale)) if api_version == API_VERSION else None

    def ignored(self, api_version: str) -> Fields:
        return {"f:status": EMPTY}

    def converted(self, value: Any, source: str, target: str) -> Any:
        raise AssertionError("a Scale has one version")


def of_object(managed: Managed, path: tuple[str, ...]) -> Managed:
    """The managers of an object that own its replicas, which are at ``path``, as managers of its Scale."""
    return {
        manager: Owned(API_VERSION, owned.seconds, fields=_REPLICAS) for manager, owned in managed.items() if sets.has(owned.fields, path)
    }


def to_object(managed: Managed, scale: Managed, path: tuple[str, ...], api_version: str) -> Managed:
    """The managers of an object after its Scale was applied: the replicas belong to those who own them there now."""
    result: Managed = {}
    replicas = sets.of_path(*path)
    for manager, owned in managed.items():
        if manager not in scale:
            owned = owned.without(replicas)
        if owned.fields:
            result[manager] = owned
    for manager, owned in scale.items():
        if sets.has(owned.fields, REPLICAS):
            before = result.get(manager)
            fields = sets.union(before.fields, replicas) if before is not None else replicas
            result[manager] = Owned(before.api_version if before is not None else api_version, owned.seconds, fields=fields)
    return result
