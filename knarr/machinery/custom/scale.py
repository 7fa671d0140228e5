"""The scale of custom objects: where their definition says that the counts and the selector stand."""

from __future__ import annotations

from typing import Any

from knarr.api.apiextensions.v1 import apiextensions_pb2 as apiextensions
from knarr.api.autoscaling.v1 import autoscaling_pb2 as autoscaling
from knarr.machinery.custom.jsonpath import fields_of, text_of
from knarr.machinery.errors import Cause, bad_request
from knarr.machinery.validation import invalid

MOST = 2**31 - 1
_GO_TYPES = {bool: "bool", float: "float64", list: "[]interface {}", dict: "map[string]interface {}"}


class ScalePaths:
    """Paths of names through objects."""

    def __init__(self, described: apiextensions.CustomResourceSubresourceScale) -> None:
        self._described = described
        self._spec, self._status = fields_of(described.spec_replicas_path), fields_of(described.status_replicas_path)
        self._selector = fields_of(described.label_selector_path) if described.label_selector_path else []

    @property
    def wanted(self) -> tuple[str, ...]:
        """The names on the way to the wanted count."""
        return tuple(self._spec)

    def read(self, obj: Any) -> autoscaling.Scale:
        """Raises BadRequest for an object without a count to scale, as in Kubernetes."""
        scale = autoscaling.Scale()
        for field in ("name", "namespace", "uid", "resource_version"):
            setattr(scale.metadata, field, getattr(obj.metadata, field))
        if obj.metadata.HasField("creation_timestamp"):
            scale.metadata.creation_timestamp.CopyFrom(obj.metadata.creation_timestamp)
        wanted, present = _at(obj.content, self._spec), _at(obj.content, self._status)
        if wanted is None:
            raise bad_request(f"the spec replicas field {self._described.spec_replicas_path!r} does not exist")
        scale.spec.replicas = _count(wanted)
        scale.status.replicas = _count(present)
        selector = _at(obj.content, self._selector) if self._selector else None
        scale.status.selector = selector if isinstance(selector, str) else ""
        return scale

    def write(self, obj: Any, scale: autoscaling.Scale) -> None:
        """Raises BadRequest where something else stands in the way to the count."""
        place: Any = obj.content
        for name in self._spec[:-1]:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise bad_request(f"{self._described.spec_replicas_path} leads through a value that is no object")
        place[self._spec[-1]] = scale.spec.replicas
        if scale.metadata.resource_version:
            obj.metadata.resource_version = scale.metadata.resource_version

    def check_spec(self, obj: Any) -> list[Cause]:
        return _check(self._described.spec_replicas_path, _at(obj.content, self._spec))

    def check_status(self, obj: Any) -> list[Cause]:
        causes = _check(self._described.status_replicas_path, _at(obj.content, self._status))
        selector = _at(obj.content, self._selector) if self._selector else None
        if selector is not None and not isinstance(selector, str):
            causes.append(invalid(self._described.label_selector_path, "", "should be a string"))
        return causes


def _check(path: str, value: Any) -> list[Cause]:
    if value is None:
        return []
    if isinstance(value, bool) or not isinstance(value, int):
        words = f"{path} accessor error: {text_of(value)} is of the type {_GO_TYPES.get(type(value), 'string')}, expected int64"
        return [invalid(path, 0, words)]
    if value < 0:
        return [invalid(path, value, "should be a non-negative integer")]
    return [invalid(path, value, f"should be less than or equal to {MOST}")] if value > MOST else []


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST else 0


def _at(content: dict[str, Any], names: list[str]) -> Any:
    place: Any = content
    for name in names:
        if not isinstance(place, dict):
            return None
        place = place.get(name)
    return place
