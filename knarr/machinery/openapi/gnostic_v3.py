"""OpenAPI v3 as protobuf: the message ``openapi.v3.Document`` of gnostic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from knarr.machinery.envelope import varint
from knarr.machinery.openapi.wire import FIXED64, VARINT, Table, Whole, any_value, block, double, integer, map_of, message, one_any, text


def _schema(found: Mapping[str, Any]) -> bytes:
    """A SchemaOrReference."""
    return block(2, block(1, text(found["$ref"]))) if "$ref" in found else block(1, _plain(found))


def _plain(found: Mapping[str, Any]) -> bytes:
    return message(found, SCHEMA, 36)


@Whole
def _default(value: Any) -> bytes:
    """A DefaultType; it has no form for objects and lists, which clients read from the JSON."""
    if isinstance(value, bool):
        return varint(2 << 3 | VARINT) + bytes([value])
    if isinstance(value, int | float):
        return varint(1 << 3 | FIXED64) + double(value)
    return block(3, text(value)) if isinstance(value, str) else b""


@Whole
def _additional(value: Any) -> bytes:
    """A schema, or whether there may be any."""
    return block(1, _schema(value)) if isinstance(value, dict) else varint(2 << 3 | VARINT) + bytes([bool(value)])


SCHEMA: Table = {
    "nullable": (1, text), "example": (7, one_any), "deprecated": (8, text), "title": (9, text), "multipleOf": (10, double),
    "maximum": (11, double), "exclusiveMaximum": (12, text), "minimum": (13, double), "exclusiveMinimum": (14, text),
    "maxLength": (15, integer), "minLength": (16, integer), "pattern": (17, text), "maxItems": (18, integer), "minItems": (19, integer),
    "uniqueItems": (20, text), "maxProperties": (21, integer), "minProperties": (22, integer), "required": (23, text),
    "enum": (24, any_value), "type": (25, text), "allOf": (26, _schema), "oneOf": (27, _schema), "anyOf": (28, _schema),
    "not": (29, _plain), "items": (30, lambda value: block(1, _schema(value))), "properties": (31, map_of(1, _schema)),
    "additionalProperties": (32, _additional), "default": (33, _default), "description": (34, text), "format": (35, text),
}  # fmt: skip

PARAMETER: Table = {"name": (1, text), "in": (2, text), "description": (3, text), "required": (4, text), "schema": (10, _schema)}


def _parameter(found: Mapping[str, Any]) -> bytes:
    """A ParameterOrReference."""
    return block(1, message(found, PARAMETER))


MEDIA_TYPE: Table = {"schema": (1, _schema)}
CONTENT = map_of(1, lambda found: message(found, MEDIA_TYPE))
BODY: Table = {"description": (1, text), "content": (2, CONTENT), "required": (3, text)}
RESPONSE: Table = {"description": (1, text), "content": (3, CONTENT)}
OPERATION: Table = {
    "tags": (1, text), "description": (3, text), "operationId": (5, text), "parameters": (6, _parameter),
    "requestBody": (7, lambda found: block(1, message(found, BODY))),
    "responses": (8, map_of(2, lambda found: block(1, message(found, RESPONSE)))),
}  # fmt: skip


def _operation(found: Mapping[str, Any]) -> bytes:
    return message(found, OPERATION, 13)


METHODS = ("get", "put", "post", "delete", "options", "head", "patch")
PATH_ITEM: Table = {**{method: (number, _operation) for number, method in enumerate(METHODS, 4)}, "parameters": (13, _parameter)}
SECURITY: Table = {"type": (1, text), "description": (2, text), "name": (3, text), "in": (4, text)}
COMPONENTS: Table = {
    "schemas": (1, map_of(1, _schema)),
    "securitySchemes": (7, map_of(1, lambda found: block(1, message(found, SECURITY)))),
}
INFO: Table = {"title": (1, text), "version": (6, text)}
DOCUMENT: Table = {
    "openapi": (1, text), "info": (2, lambda value: message(value, INFO)),
    "paths": (4, map_of(1, lambda found: message(found, PATH_ITEM, 14))), "components": (5, lambda found: message(found, COMPONENTS)),
}  # fmt: skip


def document(found: Mapping[str, Any]) -> bytes:
    """A document, or a part of one: parts that follow one another are one document."""
    return message(found, DOCUMENT)
