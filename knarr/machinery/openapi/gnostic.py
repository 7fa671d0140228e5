"""OpenAPI v2 as protobuf: the message ``openapi.v2.Document`` of gnostic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from knarr.machinery.envelope import varint
from knarr.machinery.openapi.wire import VARINT, Table, Whole, any_value, block, double, integer, list_of, map_of, message, one_any, text

NON_BODY, BODY = 2, 1
QUERY, PATH = 3, 4


def _schema(found: Mapping[str, Any]) -> bytes:
    return message(found, SCHEMA, 31)


def _type(value: str) -> bytes:
    return block(1, value.encode())


@Whole
def _additional(value: Any) -> bytes:
    """A schema, or whether there may be any."""
    return block(1, _schema(value)) if isinstance(value, dict) else varint(2 << 3 | VARINT) + bytes([bool(value)])


def _items(value: Mapping[str, Any]) -> bytes:
    return block(1, _schema(value))


SCHEMA: Table = {
    "$ref": (1, text), "format": (2, text), "title": (3, text), "description": (4, text), "default": (5, one_any),
    "multipleOf": (6, double), "maximum": (7, double), "exclusiveMaximum": (8, text), "minimum": (9, double),
    "exclusiveMinimum": (10, text), "maxLength": (11, integer), "minLength": (12, integer), "pattern": (13, text),
    "maxItems": (14, integer), "minItems": (15, integer), "uniqueItems": (16, text), "maxProperties": (17, integer),
    "minProperties": (18, integer), "required": (19, text), "enum": (20, any_value), "additionalProperties": (21, _additional),
    "type": (22, _type), "items": (23, _items), "properties": (25, map_of(1, _schema)),
}  # fmt: skip


def _parameter(found: Mapping[str, Any]) -> bytes:
    """A ParametersItem: a body, or what stands in the query or the path."""
    if found["in"] == "body":
        return block(1, block(BODY, message(found, BODY_PARAMETER, 6)))
    place = QUERY if found["in"] == "query" else PATH
    table = QUERY_PARAMETER if place == QUERY else PATH_PARAMETER
    return block(1, block(NON_BODY, block(place, message(found, table))))


BODY_PARAMETER: Table = {
    "description": (1, text), "name": (2, text), "in": (3, text), "required": (4, text), "schema": (5, _schema),
}  # fmt: skip
QUERY_PARAMETER: Table = {
    "required": (1, text), "in": (2, text), "description": (3, text), "name": (4, text), "type": (6, text), "uniqueItems": (20, text),
}  # fmt: skip
PATH_PARAMETER: Table = {
    "required": (1, text), "in": (2, text), "description": (3, text), "name": (4, text), "type": (5, text), "uniqueItems": (19, text),
}  # fmt: skip


def _response(found: Mapping[str, Any]) -> bytes:
    """A ResponseValue; its schema is a SchemaItem."""
    return block(1, message(found, RESPONSE))


RESPONSE: Table = {"description": (1, text), "schema": (2, lambda value: block(1, _schema(value)))}
OPERATION: Table = {
    "tags": (1, text), "description": (3, text), "operationId": (5, text), "produces": (6, text), "consumes": (7, text),
    "parameters": (8, _parameter), "responses": (9, map_of(1, _response)), "schemes": (10, text),
}  # fmt: skip


def _operation(found: Mapping[str, Any]) -> bytes:
    return message(found, OPERATION, 13)


METHODS = ("get", "put", "post", "delete", "options", "head", "patch")
PATH_ITEM: Table = {**{method: (number, _operation) for number, method in enumerate(METHODS, 2)}, "parameters": (9, _parameter)}


def _path_item(found: Mapping[str, Any]) -> bytes:
    return message(found, PATH_ITEM, 10)


INFO: Table = {"title": (1, text), "version": (2, text)}
API_KEY: Table = {"type": (1, text), "name": (2, text), "in": (3, text), "description": (4, text)}


def _security(found: Mapping[str, Any]) -> bytes:
    """A SecurityDefinitionsItem that is a key."""
    return block(2, message(found, API_KEY))


def _scopes(scopes: Iterable[str]) -> bytes:
    return list_of(scopes, 1, text)


DOCUMENT: Table = {
    "swagger": (1, text), "info": (2, lambda value: message(value, INFO)), "paths": (8, map_of(2, _path_item)),
    "definitions": (9, map_of(1, _schema)), "security": (12, map_of(1, _scopes)), "securityDefinitions": (13, map_of(1, _security)),
}  # fmt: skip


def document(found: Mapping[str, Any]) -> bytes:
    """A document, or a part of one: parts that follow one another are one document."""
    return message(found, DOCUMENT)
