"""The scale sub-resource of the workloads: an ``autoscaling/v1`` Scale read from and written to them."""

from __future__ import annotations

from typing import Any

from knarr.api.autoscaling.v1 import autoscaling_pb2 as autoscaling
from knarr.machinery.custom.objects import CustomObject
from knarr.machinery.custom.scale import ScalePaths
from knarr.machinery.errors import StatusError, status_error
from knarr.machinery.selectors import Selector, format_label_selector, label_selector


def to_scale(obj: Any) -> autoscaling.Scale:
    """The Scale of a workload; its identity is that of the object."""
    if isinstance(obj, CustomObject):
        return _paths(obj).read(obj)
    scale = autoscaling.Scale()
    for field in ("name", "namespace", "uid", "resource_version"):
        setattr(scale.metadata, field, getattr(obj.metadata, field))
    if obj.metadata.HasField("creation_timestamp"):
        scale.metadata.creation_timestamp.CopyFrom(obj.metadata.creation_timestamp)
    scale.spec.replicas = obj.spec.replicas
    scale.status.replicas = obj.status.replicas
    scale.status.selector = selector_text(obj.spec.selector)
    return scale


def apply_scale(obj: Any, scale: autoscaling.Scale) -> None:
    """Writes the wanted count into ``obj``; a resourceVersion in the Scale becomes the object's precondition."""
    if isinstance(obj, CustomObject):
        _paths(obj).write(obj, scale)
        return
    obj.spec.replicas = scale.spec.replicas
    if scale.metadata.resource_version:
        obj.metadata.resource_version = scale.metadata.resource_version


def replicas_fields(obj: Any) -> tuple[str, ...]:
    """The path to the wanted count in an object, in the elements of a set of fields."""
    names = _paths(obj).wanted if isinstance(obj, CustomObject) else ("spec", "replicas")
    return tuple(f"f:{name}" for name in names)


def _paths(obj: CustomObject) -> ScalePaths:
    """Raises NotFound where the version has no scale."""
    if obj.scale is None:
        raise status_error("NotFound", "the server could not find the requested resource")
    return obj.scale


def selector_text(selector: Any) -> str:
    """A label selector, or a map of labels, as text, sorted by key: ``app=web,!old,tier in (a,b)``.

    Empty when it picks everything, ``<error>`` when it is malformed.
    """
    try:
        requirements = sorted(label_selector(selector).requirements, key=lambda requirement: requirement.key)
    except StatusError:
        return "<error>"
    return format_label_selector(Selector(tuple(requirements)))
