"""JSON → message → bytes → message → JSON changes nothing, for every message of every kind."""

from __future__ import annotations

import importlib
import pkgutil
import random
from typing import Any, cast

import orjson
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st

import knarr.api
from knarr.machinery import codec
from knarr.machinery.codec import UnknownFields
from knarr.machinery.schema import INTEGERS, Field, Form, fields_of, form_of
from knarr.machinery.type_names import api_version_and_kind

DEEPEST = 7


def every_kind() -> list[type[Message]]:
    found = []
    for info in pkgutil.walk_packages(knarr.api.__path__, "knarr.api."):
        if info.name.endswith("_pb2"):
            for descriptor in importlib.import_module(info.name).DESCRIPTOR.message_types_by_name.values():
                if api_version_and_kind(descriptor):
                    found.append(GetMessageClass(descriptor))
    return found


KINDS = every_kind()


def text(source: random.Random) -> str:
    return source.choice(["a", "web-1", "ü✓", 'quo"te', "line\nbreak", "x" * 40])


def form_value(message: Descriptor, source: random.Random, depth: int) -> dict[str, Any]:
    """Arguments of a message that is no JSON object, in canonical form and never its zero."""
    form = form_of(message)
    if form == Form.JSON_FORM_QUANTITY:
        return {"string": source.choice(["500m", "1", "1k", "1Gi", "1536Mi", "12e6", "0", "-3", "7n"])}
    if form == Form.JSON_FORM_INT_OR_STRING:
        return source.choice([{"int_val": 8080}, {"type": 1, "str_val": "25%"}, {"int_val": -1}])
    if form == Form.JSON_FORM_TIME:
        return {"seconds": source.randrange(1, 4_000_000_000)}
    if form == Form.JSON_FORM_MICRO_TIME:
        return {"seconds": source.randrange(-1_000_000, 4_000_000_000), "nanos": source.randrange(1, 10**6) * 1000}
    if form == Form.JSON_FORM_DURATION:
        return {"duration": source.choice([1, 1_500, 2_000_001, 90 * 10**9, -3600 * 10**9, 10**9 + 1])}
    if form == Form.JSON_FORM_RAW:
        return {"raw": orjson.dumps(source.choice([{"a": [1, None, {"b": 0.5}]}, {}, [1], "text", 7]))}
    if form == Form.JSON_FORM_LIST:
        return {"items": [text(source) for _ in range(source.randrange(3))]}
    described = message.fields_by_name["schema"].message_type
    assert described is not None
    schema = message_arguments(described, source, depth + 1)
    if form == Form.JSON_FORM_SCHEMA_OR_ARRAY:
        return source.choice([{"schema": schema}, {"j_son_schemas": [schema]}])
    if form == Form.JSON_FORM_SCHEMA_OR_BOOL:
        return source.choice([{"schema": schema, "allows": True}, {"allows": True}, {}])
    return source.choice([{"schema": schema}, {"property": [text(source)]}])


def scalar(descriptor: FieldDescriptor, source: random.Random) -> Any:
    if descriptor.type == FieldDescriptor.TYPE_STRING:
        return text(source)
    if descriptor.type == FieldDescriptor.TYPE_BOOL:
        return source.random() < 0.5
    if descriptor.type == FieldDescriptor.TYPE_BYTES:
        return source.randbytes(source.randrange(5))
    if descriptor.type in INTEGERS:
        bits = 31 if INTEGERS[descriptor.type].endswith("32") else 63
        return source.choice([0, 1, -(2**bits), 2**bits - 1])
    return source.choice([0.0, 0.5, -3.0, 1e300])


def one(field: Field, source: random.Random, depth: int) -> Any:
    return scalar(field.element, source) if field.message is None else message_arguments(field.message, source, depth + 1)


def message_arguments(message: Descriptor, source: random.Random, depth: int = 0) -> dict[str, Any]:
    if form_of(message) != Form.JSON_FORM_UNSPECIFIED:
        return form_value(message, source, depth)
    found: dict[str, Any] = {}
    for field in fields_of(message):
        if source.random() < 0.45 or (depth > DEEPEST and field.message is not None and not form_of(field.message)):
            continue
        if depth > DEEPEST and field.message is not None and form_of(field.message) >= Form.JSON_FORM_SCHEMA_OR_ARRAY:
            continue
        if field.is_map:
            found[field.name] = {text(source): one(field, source, depth) for _ in range(source.randrange(3))}
        elif field.is_list:
            found[field.name] = [one(field, source, depth) for _ in range(source.randrange(3))]
        else:
            found[field.name] = one(field, source, depth)
    return found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.DESCRIPTOR.full_name.removeprefix("knarr.api."))
@settings(max_examples=4, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32))
def test_round_trip_is_the_identity(kind: type[Message], seed: int) -> None:
    first = codec.to_json(kind(**message_arguments(cast(Descriptor, kind.DESCRIPTOR), random.Random(seed))))
    decoded = codec.from_json(kind, first, UnknownFields.REJECT).message
    stored = kind.FromString(decoded.SerializeToString())
    assert stored == decoded
    assert codec.to_json(stored) == first


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.DESCRIPTOR.full_name.removeprefix("knarr.api."))
def test_empty_object_survives(kind: type[Message]) -> None:
    first = codec.to_dict(kind())
    assert codec.to_dict(codec.from_json(kind, orjson.dumps(first), UnknownFields.REJECT).message) == first
