"""Message → JSON object: one function per message type, built from the schema at first use.

Large messages are read through ``ListFields`` (only what is set costs), small ones field by field; both write what Go
always writes: value structs, and lists, maps and scalars without omitempty. Every call returns fresh dictionaries.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable
from functools import cache
from keyword import iskeyword
from threading import RLock
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from knarr.machinery import forms
from knarr.machinery.schema import INTEGERS, Field, Form, fields_of, form_of, schema_of
from knarr.machinery.type_names import api_version_and_kind

Encoder = Callable[[Any], Any]
SMALL = 10


def encoder(message: Descriptor) -> Encoder:
    """The function from a message to its JSON value."""
    return _ENCODERS.get(message) or _make(message)


def _make(message: Descriptor) -> Encoder:
    with _LOCK:
        if message in _ENCODERS:
            return _ENCODERS[message]
        if message in _MAKING:
            # A type that holds itself.
            return lambda value: encoder(message)(value)
        _MAKING.add(message)
        try:
            found = _FORMS[form_of(message)](message)
        finally:
            _MAKING.discard(message)
        _ENCODERS[message] = found
        return found


_ENCODERS: dict[Descriptor, Encoder] = {}
# Large objects are encoded in a thread of their own: what is half made is nobody else's.
_MAKING: set[Descriptor] = set()
_LOCK = RLock()


@cache
def _empty(message: Descriptor) -> Any:
    return GetMessageClass(message)()


def _object(message: Descriptor) -> Encoder:
    return _small(message) if len(message.fields) <= SMALL else _large(message)


def _scalar(descriptor: FieldDescriptor) -> Encoder | None:
    """How one scalar is written; None when it is written as it is."""
    if descriptor.type == FieldDescriptor.TYPE_BYTES:
        return write_bytes
    if descriptor.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        return write_float
    return None


def write_bytes(value: bytes) -> str:
    return b2a_base64(value, newline=False).decode("ascii")


def write_float(value: float) -> float | int:
    """Go writes a whole float without a fraction."""
    return int(value) if value.is_integer() and abs(value) < 1e21 else value


def _converter(field: Field) -> Encoder | None:
    """How the value of a set field is written; None when it is written as it is."""
    one = encoder(field.message) if field.message is not None else _scalar(field.element)
    if field.is_map:
        if field.message is not None:
            form = form_of(field.message)
            if form == Form.JSON_FORM_QUANTITY:
                return lambda value: {key: value[key].string or "0" for key in sorted(value)}
            return lambda value: {key: one(value[key]) for key in sorted(value)}  # type: ignore[misc]
        if one is None:
            return _string_map
        return lambda value: {key: one(value[key]) for key in sorted(value)}
    if field.is_list:
        if one is None:
            return _plain_list
        if names := _names_within(field):
            kind = {"kind": names[1], "apiVersion": names[0]}
            return lambda value: [kind | one(item) for item in value[:]]
        return lambda value: [one(item) for item in value[:]]
    return one


def _names_within(field: Field) -> tuple[str, str] | None:
    """``apiVersion`` and ``kind`` of the objects in a field: a list's are of its own kind, others are told (a StatefulSet's claims)."""
    holder = field.element.containing_type
    inside_list = holder is not None and holder.name.endswith("List")
    return api_version_and_kind(field.message) if field.message is not None and not inside_list else None


def _string_map(value: Any) -> dict[str, Any]:
    return {key: value[key] for key in sorted(value)}


def _plain_list(value: Any) -> list[Any]:
    plain: list[Any] = value[:]
    return plain


def _default(field: Field) -> str | None:
    """The source text of what JSON has for an unset field; None when it has nothing."""
    if field.is_struct:
        assert field.message is not None
        return _default_value(field.message)
    if field.omitempty:
        return None
    if field.pointer or field.is_list or field.is_map or field.element.type == FieldDescriptor.TYPE_BYTES:
        return "None"
    if field.element.type == FieldDescriptor.TYPE_STRING:
        return "''"
    if field.element.type == FieldDescriptor.TYPE_BOOL:
        return "False"
    assert field.element.type in INTEGERS or field.element.type == FieldDescriptor.TYPE_DOUBLE
    return "0"


def _default_value(message: Descriptor) -> str:
    return repr(_FORMS[form_of(message)](message)(_empty(message))) if form_of(message) else _default_object(message)


@cache
def _default_object(message: Descriptor) -> str:
    """The source text of an empty message's JSON object."""
    return "{" + ", ".join(_default_items(message)) + "}"


def _default_items(message: Descriptor) -> list[str]:
    items: list[str] = []
    for field in fields_of(message):
        if field.inline and field.message is not None:
            items += _default_items(field.message)
            continue
        text = _default(field)
        if text is not None:
            items.append(f"{field.json_name!r}: {text}")
    return items


def _compile(source: list[str], names: dict[str, Any]) -> Encoder:
    exec("\n".join(source), names)
    function: Encoder = names["encode"]
    return function


def _large(message: Descriptor) -> Encoder:
    """Reads what is set; starts from the JSON of an empty message."""
    names: dict[str, Any] = {"TABLE": {}}
    inlined = any(field.inline for field in fields_of(message))
    for field in fields_of(message):
        names["TABLE"][field.descriptor] = (None if field.inline else field.json_name, _converter(field))
    source = [
        "def encode(message):",
        f"    result = {_default_object(message)}",
        "    for field, value in message.ListFields():",
        "        name, convert = TABLE[field]",
    ]
    if inlined:
        source += ["        if name is None:", "            result.update(convert(value))", "            continue"]
    source += ["        result[name] = value if convert is None else convert(value)", "    return result"]
    return _compile(source, names)


def _small(message: Descriptor) -> Encoder:
    """Reads every field by name, in order."""
    names: dict[str, Any] = {}
    source = ["def encode(message):", "    result = {}"]
    for index, field in enumerate(fields_of(message)):
        convert = _converter(field)
        names[f"convert{index}"] = convert
        read = f"getattr(message, {field.name!r})" if iskeyword(field.name) else f"message.{field.name}"
        written = "value" if convert is None else f"convert{index}(value)"
        target = f"result[{field.json_name!r}]"
        always = _default(field)
        if field.inline:
            source += [f"    value = {read}", f"    result.update(convert{index}(value))"]
        elif field.is_struct:
            source += [f"    value = {read}", f"    {target} = {written}"]
        elif field.descriptor.has_presence:
            source += [f"    if message.HasField({field.name!r}):", f"        value = {read}", f"        {target} = {written}"]
            source += [] if always is None else ["    else:", f"        {target} = {always}"]
        else:
            source += [f"    value = {read}", "    if value:", f"        {target} = {written}"]
            source += [] if always is None else ["    else:", f"        {target} = {always}"]
    return _compile([*source, "    return result"], names)


def write_int_or_string(message: Any) -> int | str:
    text: str = message.str_val
    number: int = message.int_val
    return text if message.type == 1 else number


def _write_raw(message: Any) -> Any:
    """The JSON value in ``raw``; null when a protobuf client sent something else, which must not spoil the whole object."""
    try:
        return orjson.loads(message.raw) if message.raw else None
    except orjson.JSONDecodeError:
        return None


def _schema_or(message: Descriptor) -> Encoder:
    schema = encoder(schema_of(message))
    other = next(field for field in fields_of(message) if field.name != "schema")
    convert = _converter(other)

    def encode(value: Any) -> Any:
        if value.HasField("schema"):
            return schema(value.schema)
        plain = getattr(value, other.name)
        if other.is_list and not plain:
            return None
        return plain if convert is None else convert(plain)

    return encode


_FORMS: dict[int, Callable[[Descriptor], Encoder]] = {
    Form.JSON_FORM_UNSPECIFIED: _object,
    Form.JSON_FORM_QUANTITY: lambda message: lambda value: value.string or "0",
    Form.JSON_FORM_INT_OR_STRING: lambda message: write_int_or_string,
    Form.JSON_FORM_TIME: lambda message: forms.write_time,
    Form.JSON_FORM_MICRO_TIME: lambda message: forms.write_micro_time,
    Form.JSON_FORM_DURATION: lambda message: lambda value: forms.write_duration(value.duration),
    Form.JSON_FORM_RAW: lambda message: _write_raw,
    Form.JSON_FORM_LIST: lambda message: lambda value: list(value.items),
    Form.JSON_FORM_SCHEMA_OR_ARRAY: _schema_or,
    Form.JSON_FORM_SCHEMA_OR_BOOL: _schema_or,
    Form.JSON_FORM_SCHEMA_OR_STRING_ARRAY: _schema_or,
}
