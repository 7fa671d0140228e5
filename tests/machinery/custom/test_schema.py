"""Structural schemas: what is pruned, defaulted and refused, and in which words."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from knarr.machinery.custom.lists import check_lists
from knarr.machinery.custom.schema import ABSENT, Schema
from knarr.machinery.custom.values import compile_pattern, compile_values
from knarr.machinery.errors import Cause

Json = dict[str, Any]


def thing(**properties: Any) -> Json:
    return {"type": "object", "properties": properties}


def pruned(schema: Json, content: Json) -> tuple[Json, list[str]]:
    return content, Schema(schema, root=True).prune(content, track=True)


@pytest.mark.parametrize(
    ("schema", "content", "left", "named"),
    [
        (thing(a={"type": "string"}), {"a": "x", "b": 1}, {"a": "x"}, ["b"]),
        (thing(a=thing(b={"type": "string"})), {"a": {"b": "x", "c": 1}}, {"a": {"b": "x"}}, ["a.c"]),
        (thing(a={"type": "array", "items": thing()}), {"a": [{"c": 1}, {}]}, {"a": [{}, {}]}, ["a[0].c"]),
        (thing(a={"type": "object", "additionalProperties": {"type": "string"}}), {"a": {"x": "y"}}, {"a": {"x": "y"}}, []),
        (thing(a={"type": "object", "additionalProperties": True}), {"a": {"x": {"y": 1}}}, {"a": {"x": {}}}, ["a.x.y"]),
        (thing(a={"type": "object", "x-kubernetes-preserve-unknown-fields": True}), {"a": {"x": {"y": 1}}}, {"a": {"x": {"y": 1}}}, []),
        (
            thing(a={"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"b": thing()}}),
            {"a": {"x": 1, "b": {"c": 1}}},
            {"a": {"x": 1, "b": {}}},
            ["a.b.c"],
        ),
        (
            thing(a={"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"spec": thing()}}),
            {"a": {"kind": "K", "metadata": {"name": "n"}, "spec": {"x": 1}, "more": 1}},
            {"a": {"kind": "K", "metadata": {"name": "n"}, "spec": {}}},
            ["a.more", "a.spec.x"],
        ),
        (thing(a={"type": "string"}, b={"type": "string", "nullable": True}), {"a": None, "b": None}, {"b": None}, []),
    ],
)
def test_prune(schema: Json, content: Json, left: Json, named: list[str]) -> None:
    assert pruned(schema, content) == (left, named)
    assert Schema(schema, root=True).is_complete({"metadata": {}, **left})


def test_defaults_come_where_nothing_or_a_null_is_given_and_are_nobody_elses() -> None:
    item = thing(port={"type": "integer", "default": 80})
    schema = Schema(
        thing(
            mode={"type": "string", "default": "fast"},
            off={"type": "string", "nullable": True, "default": "x"},
            ports={"type": "array", "items": item, "default": [{}]},
            tags={"type": "object", "additionalProperties": {"type": "string", "default": "none"}},
        ),
        root=True,
    )
    content: Json = {"mode": None, "off": None, "tags": {"a": None}}
    assert not schema.is_complete(content)
    schema.complete(content)
    assert content == {"mode": "fast", "off": None, "ports": [{"port": 80}], "tags": {"a": "none"}}
    assert schema.is_complete(content)
    content["ports"].append(1)
    other: Json = {}
    schema.default(other)
    assert other == {"mode": "fast", "off": "x", "ports": [{"port": 80}]}


def found(schema: Json, value: Any, old: Any = ABSENT) -> list[str]:
    causes: list[Cause] = []
    compile_values(schema)(value, old, "", causes)
    return [f"{cause.field}: {cause.message}" for cause in causes]


@pytest.mark.parametrize(
    ("schema", "value", "causes"),
    [
        ({"type": "integer"}, "x", ['spec: Invalid value: "string": spec in body must be of type integer: "string"']),
        ({"type": "integer"}, 1.0, []),
        ({"type": "integer"}, True, ['spec: Invalid value: "boolean": spec in body must be of type integer: "boolean"']),
        ({"type": "number"}, 1, []),
        ({"type": "string"}, None, ['spec: Invalid value: "null": spec in body must be of type string: "null"']),
        ({"type": "string", "nullable": True}, None, []),
        ({"x-kubernetes-int-or-string": True}, "50%", []),
        (
            {"x-kubernetes-int-or-string": True},
            [],
            ['spec: Invalid value: "array": spec in body must be of type integer,string: "array"'],
        ),
        ({"type": "string", "enum": ["a", "b"]}, "c", ['spec: Unsupported value: "c": supported values: "a", "b"']),
        ({"type": "string", "maxLength": 2}, "abc", ["spec: Too long: may not be more than 2 bytes"]),
        ({"type": "string", "minLength": 2}, "a", ['spec: Invalid value: "a": spec in body should be at least 2 chars long']),
        ({"type": "string", "pattern": "^a+$"}, "b", ["spec: Invalid value: \"b\": spec in body should match '^a+$'"]),
        ({"type": "string", "format": "ipv4"}, "::1", ['spec: Invalid value: "::1": spec in body must be of type ipv4: "::1"']),
        ({"type": "string", "format": "unheard-of"}, "x", []),
        ({"type": "integer", "maximum": 3}, 4, ["spec: Invalid value: 4: spec in body should be less than or equal to 3"]),
        ({"type": "number", "minimum": 0, "exclusiveMinimum": True}, 0, ["spec: Invalid value: 0: spec in body should be greater than 0"]),
        ({"type": "number", "multipleOf": 0.5}, 0.75, ["spec: Invalid value: 0.75: spec in body should be a multiple of 0.5"]),
        ({"type": "array", "items": {"type": "string"}, "maxItems": 1}, ["a", "b"], ["spec: Too many: 2: must have at most 1 item"]),
        (
            {"type": "array", "items": {"type": "string"}},
            [1],
            ['spec[0]: Invalid value: "integer": spec[0] in body must be of type string: "integer"'],
        ),
        ({"type": "object", "required": ["a"]}, {}, ["spec.a: Required value"]),
        (
            {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
            {"a": 1, "b": 1},
            ['<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found 2 valid alternatives'],
        ),
        (
            {"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b", "c"]}]},
            {},
            ['<nil>: Invalid value: "": "spec" must validate at least one schema (anyOf)', "spec.a: Required value"],
        ),
        ({"type": "string", "not": {"enum": ["a"]}}, "a", ['<nil>: Invalid value: "": "spec" must not validate the schema (not)']),
    ],
)  # fmt: skip
def test_values(schema: Json, value: Any, causes: list[str]) -> None:
    assert found(thing(spec=schema), {"spec": value}) == causes


@pytest.mark.parametrize(
    "schema",
    [
        {"required": ["apiVersion", "kind", "metadata", "spec"]},
        {"allOf": [{"required": ["metadata"]}]},
        {"anyOf": [{"required": ["metadata", "spec"]}, {"required": ["other"]}]},
        {"oneOf": [{"required": ["kind", "spec"]}, {"required": ["kind", "other"]}]},
    ],
)
def test_what_every_object_has_is_not_missed(schema: Json) -> None:
    """What is judged is the object without it."""
    causes: list[Cause] = []
    compile_values({**thing(metadata=thing(name={"type": "string", "maxLength": 3}), spec=thing()), **schema}, root=True)(
        {"spec": {}}, ABSENT, "", causes
    )
    assert not causes


def test_what_did_not_change_is_not_judged_again() -> None:
    listed: Json = {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    listed["items"] = thing(name={"type": "string"}, port={"type": "integer", "maximum": 10})
    schema = thing(a={"type": "string", "maxLength": 1}, b={"type": "string"}, ports=listed)
    old = {"a": "long", "b": "x", "ports": [{"name": "p", "port": 99}]}
    assert found(schema, {**old, "b": "y"}, old) == []
    moved = [{"name": "new", "port": 1}, {"name": "p", "port": 99}]
    assert found(schema, {**old, "ports": moved}, old) == []
    assert len(found(schema, {**old, "a": "longer", "ports": [{"name": "q", "port": 99}]}, old)) == 2


def test_a_pattern_takes_no_longer_for_being_nasty() -> None:
    assert compile_pattern("^(a+)+$").search("a" * 100_000 + "!") is None
    with pytest.raises(ValueError):
        compile_pattern("(")


@pytest.mark.parametrize(
    ("schema", "items", "causes"),
    [
        ({"x-kubernetes-list-type": "set"}, ["a", "b", "a", "a"], ['l[2]: Duplicate value: "a"']),
        ({"x-kubernetes-list-type": "set"}, [1, "1", True], []),
        (
            {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"]},
            [{"n": "a"}, {"n": "b"}, {"n": "a"}],
            ['l[2]: Duplicate value: {"n":"a"}'],
        ),
        ({"x-kubernetes-list-type": "atomic"}, ["a", "a"], []),
    ],
)
def test_sets_and_maps_hold_everything_once(schema: Json, items: list[Any], causes: list[str]) -> None:
    told: list[Cause] = []
    node = Schema(thing(l={"type": "array", "items": {"type": "string"}, **schema}), root=True)
    check_lists({"l": items}, node, "", told)
    assert [f"{cause.field}: {cause.message}" for cause in told] == causes


def test_a_schema_keeps_no_part_of_what_it_completes() -> None:
    schema = Schema(thing(a={"type": "object", "default": {"b": [1]}, "x-kubernetes-preserve-unknown-fields": True}), root=True)
    content: Json = {}
    schema.default(content)
    before = orjson.dumps(content)
    content["a"]["b"].append(2)
    again: Json = {}
    schema.default(again)
    assert orjson.dumps(again) == before
