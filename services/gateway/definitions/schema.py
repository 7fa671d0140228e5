"""Schemas of custom resources, written shortly. Each function gives a new schema."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

HOSTNAME = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
GROUP = r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
KIND = r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$"
HEADER = r"^[A-Za-z0-9!#$%&'*+\-.^_|~`]+$"
DURATION = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"


def text(most: int = 253, least: int = 0, **more: Any) -> Schema:
    return {"type": "string", "maxLength": most, **({"minLength": least} if least else {}), **more}


def one_of(*values: str, default: str = "") -> Schema:
    return {"type": "string", "enum": list(values), **({"default": default} if default else {})}


def whole(least: int, most: int, **more: Any) -> Schema:
    return {"type": "integer", "format": "int32", "minimum": least, "maximum": most, **more}


def port() -> Schema:
    return whole(1, 65535)


def some(items: Schema, most: int, *keys: str, least: int = 0, **more: Any) -> Schema:
    """A list; with ``keys`` one whose entries are told apart by them."""
    made = {"type": "array", "items": items, "maxItems": most, **({"minItems": least} if least else {}), **more}
    return {**made, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)} if keys else made


def record(required: str = "", **fields: Schema) -> Schema:
    """``required`` names fields, with blanks between them."""
    return {"type": "object", "properties": fields, **({"required": required.split()} if required else {})}


def labels() -> Schema:
    expression = record("key operator", key=text(317), operator=text(), values=some(text(63), 64))
    return record(matchLabels={"type": "object", "additionalProperties": text(63)}, matchExpressions=some(expression, 64))


def conditions() -> Schema:
    condition = record(
        "type status lastTransitionTime reason message",
        type=text(316),
        status=one_of("True", "False", "Unknown"),
        observedGeneration={"type": "integer", "format": "int64", "minimum": 0},
        lastTransitionTime={"type": "string", "format": "date-time"},
        reason=text(1024, 1),
        message=text(32768),
    )
    return some(condition, 8, "type")
