"""What a schema is to the rules in it: the types that they are checked against, how large values may be, and what values of JSON become."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from knarr.machinery.cel import values as cel
from knarr.machinery.cel.errors import EvaluationError
from knarr.machinery.cel.syntax import RESERVED
from knarr.machinery.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    MOST,
    STRING,
    TIMESTAMP,
    Field,
    Type,
    list_of,
    map_of,
    object_of,
)
from knarr.machinery.custom.formats import is_byte
from knarr.machinery.decoding import read_bytes

Json = Mapping[str, Any]

# Kubernetes' estimate does not count the letters of keys, and published definitions count on that; an evaluation counts them.
KEY = STRING.sized(1)
# The longest texts of a format, with their quotes.
FORMAT_SIZES = {"date-time": 32, "datetime": 32, "date": 12, "duration": 32}
METADATA = {"name": {"type": "string", "maxLength": 253}, "generateName": {"type": "string", "maxLength": 253}}
META_SCHEMA = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object", "properties": METADATA}}
_ESCAPED = re.compile(r"__|[./-]")
_ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}


def cel_name(name: str) -> str | None:
    """A field's name as rules write it; None for one that they cannot write."""
    if name in RESERVED or name in ("true", "false", "null", "in"):
        return f"__{name}__"
    found = _ESCAPED.sub(lambda match: _ESCAPES[match[0]], name)
    return found if re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", found) else None


def type_of(source: Json, *, whole: bool = False) -> Type | None:
    """The type of what a schema describes, None where it says nothing; ``whole``: of an object with metadata."""
    if source.get("x-kubernetes-int-or-string"):
        return DYN
    match source.get("type"):
        case "boolean":
            return BOOL
        case "integer":
            return INT
        case "number":
            return DOUBLE
        case "string":
            return _text_type(source)
        case "array":
            items = source.get("items", {})
            element = type_of(items, whole=items.get("x-kubernetes-embedded-resource", False))
            return list_of(element, size_of(source)) if element is not None else None
        case "object":
            return _object_type(source, whole=whole or source.get("x-kubernetes-embedded-resource", False))
    return None


def _text_type(source: Json) -> Type:
    found = {"byte": BYTES, "date": TIMESTAMP, "date-time": TIMESTAMP, "duration": DURATION}.get(source.get("format", ""))
    return found if found is not None and found is not BYTES else (found or STRING).sized(size_of(source))


def _object_type(source: Json, *, whole: bool) -> Type | None:
    more = source.get("additionalProperties")
    if isinstance(more, dict):
        inner = type_of(more)
        return map_of(KEY, inner, size_of(source)) if inner is not None else None
    properties = {**source.get("properties", {}), **(META_SCHEMA if whole else {})}
    fields: dict[str, Field] = {}
    for name, inner_source in properties.items():
        written, found = cel_name(name), type_of(inner_source)
        if written is not None and found is not None:
            fields[written] = Field(name, found)
    return object_of("object", fields)


def size_of(source: Json) -> int:
    """How many letters, elements or entries a value may have, as its schema or the size of a request bounds them."""
    match source.get("type"):
        case "string":
            if source.get("enum"):
                return max(len(str(choice)) for choice in source["enum"])
            if source.get("format") in FORMAT_SIZES:
                return FORMAT_SIZES[source["format"]]
            return min(source["maxLength"] * 4, MOST) if "maxLength" in source else MOST - 2
        case "array":
            return min(source["maxItems"], MOST) if "maxItems" in source else MOST // (least_of(source.get("items", {})) + 1)
        case "object":
            more = source.get("additionalProperties")
            entry = least_of(more) if isinstance(more, dict) else 2
            return min(source["maxProperties"], MOST) if "maxProperties" in source else MOST // (entry + 5)
    return 1


def least_of(source: Json) -> int:
    """The bytes that a value has at least."""
    match source.get("type"):
        case "string":
            return 2
        case "boolean":
            return 4
        case "array":
            return 2
        case "object":
            properties = source.get("properties", {})
            names = [name for name in source.get("required", []) if name in properties and "default" not in properties[name]]
            return 2 + sum(len(name) + 4 + least_of(properties[name]) for name in names)
    return 1


# What a value of JSON is to CEL; None where it is the same.
Convert = Callable[[Any], Any]


def converter(source: Json) -> Convert | None:
    match source.get("type"):
        case "number":
            return lambda value: float(value) if cel.is_number(value) else value
        case "string":
            return _TEXTS.get(source.get("format", ""))
        case "array":
            return _of_items(converter(source.get("items", {})))
        case "object":
            more = source.get("additionalProperties")
            if isinstance(more, dict):
                return _of_entries(converter(more))
            inner = {name: found for name, other in source.get("properties", {}).items() if (found := converter(other)) is not None}
            return _of_fields(inner) if inner else None
    return None


def _text_as(read: Callable[[str], Any]) -> Convert:
    def convert(value: Any) -> Any:
        try:
            return read(value) if isinstance(value, str) else value
        except (EvaluationError, ValueError):
            return value  # it breaks its format, which is told elsewhere

    return convert


_TEXTS: dict[str, Convert] = {
    "byte": _text_as(lambda text: read_bytes(text) if is_byte(text) else text),
    "date": _text_as(lambda text: cel.timestamp(f"{text}T00:00:00Z")),
    "date-time": _text_as(cel.timestamp),
    "duration": _text_as(cel.duration),
}


def _of_items(inner: Convert | None) -> Convert | None:
    return (lambda value: [inner(item) for item in value] if isinstance(value, list) else value) if inner is not None else None


def _of_entries(inner: Convert | None) -> Convert | None:
    if inner is None:
        return None
    return lambda value: {name: inner(item) for name, item in value.items()} if isinstance(value, dict) else value


def _of_fields(inner: Mapping[str, Convert]) -> Convert:
    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {**value, **{name: found(value[name]) for name, found in inner.items() if name in value}}

    return convert
