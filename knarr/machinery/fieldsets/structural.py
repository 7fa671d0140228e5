"""Shapes of custom resources, from their structural schemas: ``x-kubernetes-list-type`` and its like."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.custom.schema import Schema
from knarr.machinery.fieldsets.descriptors import shape_of
from knarr.machinery.fieldsets.shape import BOOLEAN, DEDUCED, NUMERIC, STRING, UNTYPED, Shape
from knarr.machinery.schema import descriptor_of

_SCALARS = {"string": STRING, "integer": NUMERIC, "number": NUMERIC, "boolean": BOOLEAN}


def shape_of_objects(schema: Schema | None) -> Shape:
    """The shape of whole objects; without a schema of all but their metadata nothing is known."""
    if schema is None:
        return Shape("map", element=DEDUCED, fields=_of_every_object)
    fields = partial(_fields, schema, whole=True)
    return Shape("map", element=DEDUCED if schema.preserve else None, fields=fields)


def _of_every_object() -> dict[str, Shape]:
    return {"apiVersion": STRING, "kind": STRING, "metadata": shape_of(descriptor_of(meta.ObjectMeta))}


def _fields(schema: Schema, *, whole: bool) -> Mapping[str, Shape]:
    found = {name: _shape(below) for name, below in schema.properties.items()}
    return {**found, **_of_every_object()} if whole else found


def _shape(schema: Schema) -> Shape:
    source = schema.source
    if source.get("x-kubernetes-int-or-string"):
        return UNTYPED
    sort = source.get("type")
    if sort == "array":
        return _list(schema)
    if sort != "object":
        return _SCALARS.get(sort or "", DEDUCED)
    if not schema.properties and schema.additional is None and not schema.embedded:
        return Shape("map", atomic=True, element=DEDUCED) if _is_atomic(source) else DEDUCED
    element = _shape(schema.additional) if schema.additional is not None else DEDUCED if schema.preserve else None
    return Shape("map", atomic=_is_atomic(source), element=element, fields=partial(_fields, schema, whole=schema.embedded))


def _is_atomic(source: dict[str, Any]) -> bool:
    return source.get("x-kubernetes-map-type") == "atomic"


def _list(schema: Schema) -> Shape:
    element = _shape(schema.items) if schema.items is not None else DEDUCED
    kind = schema.source.get("x-kubernetes-list-type")
    if kind == "set":
        # Elements that are atomic themselves are told apart as wholes in the store, which path elements cannot say.
        return Shape("list", element=element) if element.sort == "scalar" else Shape("list", atomic=True, element=element)
    if kind != "map" or schema.items is None:
        return Shape("list", atomic=True, element=element)
    keys = tuple(schema.source.get("x-kubernetes-list-map-keys", ()))
    properties = schema.items.source.get("properties", {})
    defaults = {key: properties[key]["default"] for key in keys if "default" in properties.get(key, {})}
    return Shape("list", keys=keys, key_defaults=defaults, element=element)
