"""Shapes of the built-in kinds, from the schema options of their messages."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from knarr.machinery.fieldsets.shape import ATOMIC_LIST, BOOLEAN, DEDUCED, NUMERIC, STRING, UNTYPED, Shape
from knarr.machinery.schema import Field, Form, form_of, is_object, json_fields, map_type_of

_SCALARS = {
    FieldDescriptor.TYPE_STRING: STRING,
    FieldDescriptor.TYPE_BYTES: STRING,
    FieldDescriptor.TYPE_BOOL: BOOLEAN,
}
_ZERO: dict[str, Any] = {"string": "", "numeric": 0, "boolean": False}
# The messages whose JSON is no object of their fields.
_FORMS: dict[int, Shape] = {
    Form.JSON_FORM_QUANTITY: UNTYPED,
    Form.JSON_FORM_INT_OR_STRING: UNTYPED,
    Form.JSON_FORM_TIME: UNTYPED,
    Form.JSON_FORM_MICRO_TIME: UNTYPED,
    Form.JSON_FORM_DURATION: STRING,
    Form.JSON_FORM_RAW: DEDUCED,
    Form.JSON_FORM_LIST: ATOMIC_LIST,
    Form.JSON_FORM_SCHEMA_OR_ARRAY: DEDUCED,
    Form.JSON_FORM_SCHEMA_OR_BOOL: DEDUCED,
    Form.JSON_FORM_SCHEMA_OR_STRING_ARRAY: DEDUCED,
}


@cache
def shape_of(message: Descriptor) -> Shape:
    """The shape of a message's JSON."""
    return _message(message, map_type_of(message) == "atomic")


@cache
def _message(message: Descriptor, atomic: bool) -> Shape:
    form = form_of(message)
    return _FORMS[form] if form else Shape("map", atomic=atomic, fields=partial(_fields, message))


def _fields(message: Descriptor) -> Mapping[str, Shape]:
    found = {name: _field(field) for name, (_, field) in json_fields(message).items()}
    return {"apiVersion": STRING, "kind": STRING, **found} if is_object(message) else found


def _field(field: Field) -> Shape:
    if field.is_list:
        return _list(field)
    if field.is_map:
        return Shape("map", atomic=field.map_type == "atomic", element=_value(field))
    if field.message is not None and field.map_type:
        return _message(field.message, field.map_type == "atomic")
    return _value(field)


def _value(field: Field) -> Shape:
    """One value of a field: of a list its element, of a map what a key has."""
    if field.message is not None:
        return shape_of(field.message)
    return _SCALARS.get(field.element.type, NUMERIC)


def _list(field: Field) -> Shape:
    element = _value(field)
    if field.list_type not in ("set", "map"):
        return Shape("list", atomic=True, element=element)
    assert field.list_type == "set" or field.message is not None
    defaults = _key_defaults(field.message, field.list_map_keys) if field.message is not None else {}
    return Shape("list", keys=field.list_map_keys, key_defaults=defaults, element=element)


def _key_defaults(message: Descriptor, keys: tuple[str, ...]) -> Mapping[str, Any]:
    """What keys are that a value leaves out: as declared, or zero where JSON always has the field."""
    found: dict[str, Any] = {}
    for key in keys:
        _, field = json_fields(message)[key]
        if field.default_json:
            found[key] = orjson.loads(field.default_json)
        elif not field.pointer and not field.omitempty:
            found[key] = _ZERO[_SCALARS.get(field.element.type, NUMERIC).scalar]
    return found
