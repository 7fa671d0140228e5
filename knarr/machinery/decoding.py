"""JSON object → constructor arguments of a message: one function per message type, built from the schema at first use.

The functions only rename and convert; protobuf's constructor checks what is left. Whatever is wrong – a type, a field
that does not exist – they report by the exception or the flag alone, and ``knarr.machinery.diagnosis`` then walks the
object again, slowly, to say where it is and in Kubernetes' words. So good objects do not pay for good errors.
"""

from __future__ import annotations

from binascii import Error as BinasciiError
from binascii import a2b_base64
from collections.abc import Callable
from threading import RLock
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from knarr.machinery import forms
from knarr.machinery.schema import INTEGERS, Field, Form, form_of, json_fields, schema_of
from knarr.machinery.type_names import api_version_and_kind

# value, list that receives unknown names → constructor arguments
Decoder = Callable[[Any, list[str]], Any]
MALFORMED = (TypeError, ValueError, AttributeError, OverflowError)


def decoder(message: Descriptor) -> Decoder:
    """The function from a JSON value to constructor arguments. It raises one of MALFORMED for a value of a wrong shape."""
    return _DECODERS.get(message) or _make(message)


def _make(message: Descriptor) -> Decoder:
    with _LOCK:
        if message in _DECODERS:
            return _DECODERS[message]
        if message in _MAKING:
            # A type that holds itself.
            return lambda value, unknown: decoder(message)(value, unknown)
        _MAKING.add(message)
        try:
            found = _FORMS[form_of(message)](message)
        finally:
            _MAKING.discard(message)
        _DECODERS[message] = found
        return found


_DECODERS: dict[Descriptor, Decoder] = {}
# Large bodies are decoded in a thread of their own: what is half made is nobody else's.
_MAKING: set[Descriptor] = set()
_LOCK = RLock()


def _object(message: Descriptor) -> Decoder:
    fields = json_fields(message)
    plain = {name: (field.name, *_converters(field)) for name, (path, field) in fields.items() if not path}
    inlined = {name: (path, (field.name, *_converters(field))) for name, (path, field) in fields.items() if path}
    # Absent and empty are the same value struct: only one form of it is made, so that equal objects compare equal.
    values = {field.name for path, field in fields.values() if not path and field.is_struct}
    skipped = {"apiVersion", "kind"} - set(fields) if api_version_and_kind(message) else set()

    def special(name: str, value: Any, result: dict[str, Any], unknown: list[str]) -> None:
        if name not in inlined:
            if name not in skipped:
                unknown.append(name)
            elif type(value) is not str and value is not None:
                raise TypeError(name)
        elif value is not None:
            path, (field, direct, convert) = inlined[name]
            for step in path:
                result = result.setdefault(step, {})
            if direct is not None:
                value = direct(value)
            elif convert is not None:
                value = convert(value, unknown)
            result[field] = value

    def decode(value: Any, unknown: list[str]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name, item in value.items():
            entry = plain.get(name)
            if entry is None:
                special(name, item, result, unknown)
            elif item is not None:
                field, direct, convert = entry
                if direct is not None:
                    item = direct(item)
                elif convert is not None:
                    item = convert(item, unknown)
                    if not item and field in values:
                        continue
                result[field] = item
        return result

    return decode


def _converters(field: Field) -> tuple[Callable[[Any], Any] | None, Decoder | None]:
    """How one field is read: by a function of the value alone, or by one that may meet unknown names; or as it is."""
    if field.message is not None and _DIRECT.get(form_of(field.message)) is None:
        return None, _message_converter(field, decoder(field.message))
    one = _DIRECT[form_of(field.message)] if field.message is not None else _scalar(field.element)
    empty = read_nothing(field.element)
    if field.is_map:
        return (_string_map(empty) if one is None else _direct_map(one, empty)), None
    if field.is_list:
        return (_plain_list(empty) if one is None else _direct_list(one, empty)), None
    return one, None


def read_nothing(element: FieldDescriptor) -> Any:
    """What null means as an element of a list or map."""
    if element.message_type is not None:
        return {}
    return {FieldDescriptor.TYPE_STRING: "", FieldDescriptor.TYPE_BYTES: b"", FieldDescriptor.TYPE_BOOL: False}.get(element.type, 0)


def _message_converter(field: Field, one: Decoder) -> Decoder:
    if field.is_map:

        def read_map(value: Any, unknown: list[str]) -> dict[str, Any]:
            return {key: {} if item is None else one(item, unknown) for key, item in value.items()}

        return read_map
    if field.is_list:

        def read_list(value: Any, unknown: list[str]) -> list[Any]:
            if type(value) is not list:
                raise TypeError(field.json_name)
            return [{} if item is None else one(item, unknown) for item in value]

        return read_list
    return one


def _string_map(empty: Any) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) is not dict:
            raise TypeError("object")
        if None in value.values():
            return {key: empty if item is None else item for key, item in value.items()}
        return value

    return read


def _direct_map(one: Callable[[Any], Any], empty: Any) -> Callable[[Any], Any]:
    return lambda value: {key: empty if item is None else one(item) for key, item in value.items()}


def _plain_list(empty: Any) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) is not list:
            raise TypeError("array")
        return [empty if item is None else item for item in value] if None in value else value

    return read


def _direct_list(one: Callable[[Any], Any], empty: Any) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) is not list:
            raise TypeError("array")
        return [empty if item is None else one(item) for item in value]

    return read


def _scalar(element: FieldDescriptor) -> Callable[[Any], Any] | None:
    """How one scalar is read; None when protobuf's own check is enough (strings and integers)."""
    if element.type == FieldDescriptor.TYPE_BOOL:
        return read_bool
    if element.type == FieldDescriptor.TYPE_BYTES:
        return read_bytes
    if element.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        return read_float
    assert element.type in INTEGERS or element.type == FieldDescriptor.TYPE_STRING
    return None


def read_bool(value: Any) -> bool:
    if value is True or value is False:
        return value
    raise TypeError("bool")


def read_bytes(value: Any) -> bytes:
    """Standard base64; line breaks are allowed, as in Go."""
    if type(value) is not str:
        raise TypeError("string")
    try:
        return a2b_base64(value.replace("\n", "").replace("\r", "") if "\n" in value or "\r" in value else value, strict_mode=True)
    except BinasciiError as error:
        raise ValueError(f"illegal base64 data: {error}") from None


def read_float(value: Any) -> float:
    if type(value) is float or type(value) is int:
        return float(value)
    raise TypeError("number")


def _read_raw(value: Any) -> dict[str, Any]:
    return {} if value is None else {"raw": orjson.dumps(value)}


def _read_list(value: Any) -> dict[str, Any]:
    if type(value) is not list:
        raise forms.WrongType("[]string")
    return {"items": ["" if item is None else item for item in value]}


def _schema_or_array(message: Descriptor) -> Decoder:
    def decode(value: Any, unknown: list[str]) -> dict[str, Any]:
        schema = decoder(schema_of(message))
        if type(value) is list:
            return {"j_son_schemas": [{} if item is None else schema(item, unknown) for item in value]}
        return {"schema": schema(value, unknown)}

    return decode


def _schema_or_bool(message: Descriptor) -> Decoder:
    def decode(value: Any, unknown: list[str]) -> dict[str, Any]:
        if value is True or value is False:
            return {"allows": value}
        return {"allows": True, "schema": decoder(schema_of(message))(value, unknown)}

    return decode


def _schema_or_strings(message: Descriptor) -> Decoder:
    def decode(value: Any, unknown: list[str]) -> dict[str, Any]:
        if type(value) is list:
            return {"property": value}
        return {"schema": decoder(schema_of(message))(value, unknown)}

    return decode


def _wrap(read: Callable[[Any], Any]) -> Callable[[Descriptor], Decoder]:
    return lambda message: lambda value, unknown: read(value)


_DIRECT: dict[int, Callable[[Any], Any]] = {
    Form.JSON_FORM_QUANTITY: forms.read_quantity,
    Form.JSON_FORM_INT_OR_STRING: forms.read_int_or_string,
    Form.JSON_FORM_TIME: forms.read_time,
    Form.JSON_FORM_MICRO_TIME: forms.read_micro_time,
    Form.JSON_FORM_DURATION: forms.read_duration,
    Form.JSON_FORM_RAW: _read_raw,
    Form.JSON_FORM_LIST: _read_list,
}
_FORMS: dict[int, Callable[[Descriptor], Decoder]] = {
    Form.JSON_FORM_UNSPECIFIED: _object,
    Form.JSON_FORM_SCHEMA_OR_ARRAY: _schema_or_array,
    Form.JSON_FORM_SCHEMA_OR_BOOL: _schema_or_bool,
    Form.JSON_FORM_SCHEMA_OR_STRING_ARRAY: _schema_or_strings,
    **{form: _wrap(read) for form, read in _DIRECT.items()},
}


def direct_reader(message: Descriptor) -> Callable[[Any], Any] | None:
    """The reader of a message that is not a JSON object, if it is one."""
    return _DIRECT.get(form_of(message))
