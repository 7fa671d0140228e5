"""OpenAPI v2 as protobuf: the message ``openapi.v2.Document`` of gnostic, which clients written in Go ask for, from the same as JSON.

Each message is a table of its fields: the name in JSON → its number and what writes it. Only what our documents hold is there.
Extensions (``x-…``) are YAML text within the message; JSON is YAML.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from knarr.machinery.envelope import varint

Write = Callable[[Any], bytes]
Table = Mapping[str, tuple[int, Write]]

LENGTH, FIXED64, VARINT = 2, 1, 0
NON_BODY, BODY = 2, 1
QUERY, PATH = 3, 4


def block(number: int, data: bytes) -> bytes:
    """A field of bytes: a text or a message."""
    return b"".join((varint(number << 3 | LENGTH), varint(len(data)), data))


def _text(value: str) -> bytes:
    return value.encode()


def _any(value: object) -> bytes:
    """gnostic's Any: YAML. A list of values is a field for each."""
    return block(2, orjson.dumps(value) + b"\n")


def _one_any(value: object) -> bytes:
    """The same for one value, be it a list."""
    return _any(value)


def _named(name: str, value: bytes) -> bytes:
    return block(1, name.encode()) + block(2, value)


def _map(number: int, write: Write) -> Write:
    """A message that is a map: its entries are a repeated field of name and value."""
    return lambda found: b"".join(block(number, _named(name, write(value))) for name, value in found.items())


def _list(values: Iterable[Any], number: int, write: Write) -> bytes:
    return b"".join(block(number, write(value)) for value in values)


def _message(found: Mapping[str, Any], table: Table, extensions: int = 0) -> bytes:
    """A message by its table; lists are repeated fields; what begins with ``x-`` goes to the field ``extensions``."""
    parts = []
    for name, value in found.items():
        if name.startswith("x-") and extensions:
            parts.append(block(extensions, _named(name, _any(value))))
            continue
        number, write = table.get(name, (0, _text))
        if not number:
            continue
        if write in (_one_any, _additional):
            parts.append(block(number, write(value)))
        elif value is False:
            continue
        elif value is True:
            parts.append(varint(number << 3 | VARINT) + b"\x01")
        elif isinstance(value, list):
            parts.append(_list(value, number, write))
        elif write is _number:
            parts.append(varint(number << 3 | FIXED64) + _number(value))
        elif write is _integer:
            parts.append(varint(number << 3 | VARINT) + _integer(value))
        else:
            parts.append(block(number, write(value)))
    return b"".join(parts)


def _number(value: float) -> bytes:
    return struct.pack("<d", value)


def _integer(value: int) -> bytes:
    return varint(value & 2**64 - 1)


def _schema(found: Mapping[str, Any]) -> bytes:
    return _message(found, SCHEMA, 31)


def _type(value: str) -> bytes:
    return block(1, value.encode())


def _additional(value: Any) -> bytes:
    """A schema, or whether there may be any."""
    return block(1, _schema(value)) if isinstance(value, dict) else varint(2 << 3 | VARINT) + bytes([bool(value)])


def _items(value: Mapping[str, Any]) -> bytes:
    return block(1, _schema(value))


SCHEMA: Table = {
    "$ref": (1, _text), "format": (2, _text), "title": (3, _text), "description": (4, _text), "default": (5, _one_any),
    "multipleOf": (6, _number), "maximum": (7, _number), "exclusiveMaximum": (8, _text), "minimum": (9, _number),
    "exclusiveMinimum": (10, _text), "maxLength": (11, _integer), "minLength": (12, _integer), "pattern": (13, _text),
    "maxItems": (14, _integer), "minItems": (15, _integer), "uniqueItems": (16, _text), "maxProperties": (17, _integer),
    "minProperties": (18, _integer), "required": (19, _text), "enum": (20, _any), "additionalProperties": (21, _additional),
    "type": (22, _type), "items": (23, _items), "properties": (25, _map(1, _schema)),
}  # fmt: skip


def _parameter(found: Mapping[str, Any]) -> bytes:
    """A ParametersItem: a body, or what stands in the query or the path."""
    if found["in"] == "body":
        return block(1, block(BODY, _message(found, BODY_PARAMETER, 6)))
    place = QUERY if found["in"] == "query" else PATH
    table = QUERY_PARAMETER if place == QUERY else PATH_PARAMETER
    return block(1, block(NON_BODY, block(place, _message(found, table))))


BODY_PARAMETER: Table = {
    "description": (1, _text), "name": (2, _text), "in": (3, _text), "required": (4, _text), "schema": (5, _schema),
}  # fmt: skip
QUERY_PARAMETER: Table = {
    "required": (1, _text), "in": (2, _text), "description": (3, _text), "name": (4, _text), "type": (6, _text), "uniqueItems": (20, _text),
}  # fmt: skip
PATH_PARAMETER: Table = {
    "required": (1, _text), "in": (2, _text), "description": (3, _text), "name": (4, _text), "type": (5, _text), "uniqueItems": (19, _text),
}  # fmt: skip


def _response(found: Mapping[str, Any]) -> bytes:
    """A ResponseValue; its schema is a SchemaItem."""
    return block(1, _message(found, RESPONSE))


RESPONSE: Table = {"description": (1, _text), "schema": (2, lambda value: block(1, _schema(value)))}
OPERATION: Table = {
    "tags": (1, _text), "description": (3, _text), "operationId": (5, _text), "produces": (6, _text), "consumes": (7, _text),
    "parameters": (8, _parameter), "responses": (9, _map(1, _response)), "schemes": (10, _text),
}  # fmt: skip


def _operation(found: Mapping[str, Any]) -> bytes:
    return _message(found, OPERATION, 13)


METHODS = ("get", "put", "post", "delete", "options", "head", "patch")
PATH_ITEM: Table = {**{method: (number, _operation) for number, method in enumerate(METHODS, 2)}, "parameters": (9, _parameter)}


def _path_item(found: Mapping[str, Any]) -> bytes:
    return _message(found, PATH_ITEM, 10)


INFO: Table = {"title": (1, _text), "version": (2, _text)}
API_KEY: Table = {"type": (1, _text), "name": (2, _text), "in": (3, _text), "description": (4, _text)}


def _security(found: Mapping[str, Any]) -> bytes:
    """A SecurityDefinitionsItem that is a key."""
    return block(2, _message(found, API_KEY))


def _scopes(scopes: Iterable[str]) -> bytes:
    return _list(scopes, 1, _text)


DOCUMENT: Table = {
    "swagger": (1, _text), "info": (2, lambda value: _message(value, INFO)), "paths": (8, _map(2, _path_item)),
    "definitions": (9, _map(1, _schema)), "security": (12, _map(1, _scopes)), "securityDefinitions": (13, _map(1, _security)),
}  # fmt: skip


def document(found: Mapping[str, Any]) -> bytes:
    """A document, or a part of one: parts that follow one another are one document."""
    return _message(found, DOCUMENT)
