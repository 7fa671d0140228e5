"""The types of the built-in kinds for expressions, from their messages: what JSON shows of each field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from knarr.machinery.cel.types import BOOL, BYTES, DOUBLE, DYN, INT, STRING, TIMESTAMP, Type, list_of, map_of
from knarr.machinery.cel.types import Field as TypeField
from knarr.machinery.custom.rule_types import cel_name
from knarr.machinery.schema import Field, Form, form_of, is_object, json_fields

_SCALARS = {
    FieldDescriptor.TYPE_STRING: STRING,
    FieldDescriptor.TYPE_BYTES: BYTES,
    FieldDescriptor.TYPE_BOOL: BOOL,
    FieldDescriptor.TYPE_DOUBLE: DOUBLE,
    FieldDescriptor.TYPE_FLOAT: DOUBLE,
}
# The messages whose JSON is no object of their fields; of all others anything may be.
_FORMS: dict[int, Type] = {
    Form.JSON_FORM_QUANTITY: STRING,
    Form.JSON_FORM_TIME: TIMESTAMP,
    Form.JSON_FORM_MICRO_TIME: TIMESTAMP,
    Form.JSON_FORM_DURATION: STRING,
}


class _Fields(Mapping[str, TypeField]):
    """Those of a message, which may hold itself: they are made when somebody looks."""

    def __init__(self, message: Descriptor) -> None:
        self._message = message
        self._made: dict[str, TypeField] | None = None

    @property
    def _fields(self) -> dict[str, TypeField]:
        if self._made is None:
            found = {name: _of_field(field) for name, (_, field) in json_fields(self._message).items()}
            if is_object(self._message):
                found = {"apiVersion": STRING, "kind": STRING, **found}
            self._made = {written: TypeField(name, sort) for name, sort in found.items() if (written := cel_name(name)) is not None}
        return self._made

    def __getitem__(self, name: str) -> TypeField:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


@cache
def type_of_message(message: Descriptor) -> Type:
    """The type of a message's JSON."""
    form = form_of(message)
    return _FORMS.get(form, DYN) if form else Type(message.name, fields=_Fields(message))


def _of_field(field: Field) -> Type:
    value = type_of_message(field.message) if field.message is not None else _SCALARS.get(field.element.type, INT)
    if field.is_list:
        return list_of(value)
    return map_of(STRING, value) if field.is_map else value
