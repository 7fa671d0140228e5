"""Definitions, their objects and the rules in them, as nobody would write them: refused or taken, never a fault of the server's own."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.machinery.cel.compiler import compile_expression
from knarr.machinery.cel.errors import CostExceeded, EvaluationError, InvalidExpression
from knarr.machinery.cel.types import DYN
from knarr.machinery.custom.jsonpath import JsonPath
from tests.apiserver.definitions.asgi import CRDS, WIDGETS, Rest, definition, running

pytestmark = pytest.mark.hostile

NAMES = st.sampled_from(["a", "b", "spec", "status", "metadata", "kind", "x-y", "", "é", "__"])
LEAVES = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8)
TYPES = ["object", "array", "string", "integer", "number", "boolean", "null", ""]
RULES = [
    "self.a == 1",
    "has(self.a)",
    "self.all(x, true)",
    "self == oldSelf",
    "self.b.size() > 0",
    "self.",
    "quantity(self) > 1",
    "self.spec",
]


def nodes(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {"type": st.sampled_from(TYPES)},
        optional={
            "properties": st.dictionaries(NAMES, inner, max_size=3),
            "additionalProperties": inner | st.booleans(),
            "items": inner,
            "default": VALUES,
            "enum": st.lists(VALUES, max_size=2),
            "pattern": st.sampled_from(["^a", "(", "(a+)+$", "\\d", "[[:alpha:]]"]),
            "format": st.sampled_from(["date-time", "ipv4", "byte", "duration", "other"]),
            "nullable": st.booleans(),
            "required": st.lists(NAMES, max_size=2),
            "maximum": st.floats(allow_nan=False, allow_infinity=False),
            "maxLength": st.integers(-1, 9),
            "multipleOf": st.sampled_from([0, 0.1, 2, -1]),
            "allOf": st.lists(inner, max_size=2),
            "oneOf": st.lists(inner, max_size=2),
            "not": inner,
            "x-kubernetes-preserve-unknown-fields": st.booleans(),
            "x-kubernetes-embedded-resource": st.booleans(),
            "x-kubernetes-int-or-string": st.booleans(),
            "x-kubernetes-list-type": st.sampled_from(["set", "map", "atomic", "other"]),
            "x-kubernetes-list-map-keys": st.lists(NAMES, max_size=2),
            "x-kubernetes-validations": st.lists(st.fixed_dictionaries({"rule": st.sampled_from(RULES)}), max_size=2),
        },
    )


SCHEMAS = st.recursive(st.fixed_dictionaries({"type": st.sampled_from(TYPES)}), nodes, max_leaves=6)


def test_no_definition_and_no_object_is_a_fault_of_the_server() -> None:
    numbers = itertools.count()

    async def try_one(rest: Rest, schema: dict[str, Any], values: list[Any]) -> None:
        plural = f"widgets{next(numbers)}"
        found = definition(plural, kind=plural.title(), schema={**schema, "type": "object"}, subresources={"status": {}})
        answer = await rest("POST", CRDS, found)
        assert answer.status in (201, 400, 422), answer.json
        if answer.status != 201:
            return
        await rest.until_condition(f"{plural}.example.org", "Established")
        path = WIDGETS.replace("widgets", plural)
        for index, value in enumerate(values):
            body = {"a": value, **(value if isinstance(value, dict) else {})}
            body |= {"apiVersion": "example.org/v1", "kind": plural.title(), "metadata": {"name": f"w{index}"}}
            made = await rest("POST", path, body)
            assert made.status in (201, 400, 422), (made.json, body)
            changed = await rest("PATCH", f"{path}/w{index}", {"b": value}, "application/merge-patch+json")
            assert changed.status in (200, 400, 404, 422), (changed.json, body)
        assert (await rest("GET", path)).status == 200
        assert (await rest("GET", path, accept="application/json;as=Table;v=v1;g=meta.k8s.io")).status == 200
        assert (await rest("DELETE", f"{CRDS}/{plural}.example.org")).status == 200

    with asyncio.Runner() as runner:
        server = running()
        rest = runner.run(server.__aenter__())

        @settings(max_examples=40, deadline=None)
        @given(SCHEMAS, st.lists(VALUES, min_size=1, max_size=3))
        def try_each(schema: dict[str, Any], values: list[Any]) -> None:
            runner.run(try_one(rest, schema, values))

        try:
            try_each()
        finally:
            runner.run(server.__aexit__(None, None, None))


OPERATORS = ["?", ":", "&&", "||", "!", "-", "+", "*", "/", "%", "==", "<", "in", "(", ")", "[", "]", "{", "}", ","]
OPERANDS = [
    "self",
    "1",
    "2u",
    "1.5",
    "'x'",
    "true",
    "null",
    "x",
    "has(self.a)",
    "optional.of(1)",
    "duration('1s')",
    "quantity('1')",
    "'%s'",
]
MEMBERS = [".a", "[0]", "['a']", ".all(x, x)", ".map(x, x)", ".size()", ".?a", ".orValue(1)", ".matches('a')", ".format([1])", ".find('a')"]
WORDS = [*OPERATORS, *OPERANDS, *MEMBERS, "ip('::1')", "cel.bind(y, 1, y)", "string(self)"]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), VALUES)
def test_no_expression_does_anything_but_answer_or_refuse(expression: str, value: Any) -> None:
    try:
        program = compile_expression(expression, {"self": DYN})
    except InvalidExpression as error:
        assert error.shown(expression).startswith("ERROR: <input>:")
        return
    try:
        _, cost = program.evaluate({"self": value}, 100_000)
    except (EvaluationError, CostExceeded):
        return
    assert cost <= 100_000


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=".[]'\"*?@()=<>:ab0-\\ ", max_size=30), VALUES)
def test_no_path_does_anything_but_find_or_be_refused(path: str, value: Any) -> None:
    try:
        found = JsonPath(path)
    except ValueError:
        return
    assert isinstance(found.find(value), list)
