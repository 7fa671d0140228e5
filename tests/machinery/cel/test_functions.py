"""Each function of each of Kubernetes' libraries is there, and answers what it should.

The names are those of https://kubernetes.io/docs/reference/using-api/cel/.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from knarr.machinery.cel.compiler import compile_expression
from knarr.machinery.cel.errors import EvaluationError, InvalidExpression

LINES = [line.split("\t") for line in Path(__file__).with_name("functions.tsv").read_text().splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("expression", [pytest.param(found, id=f"{library}: {name}") for library, name, found in LINES])
def test_each_function(expression: str) -> None:
    assert compile_expression(expression, {}).evaluate({}, 1_000_000)[0] is True


def test_each_line_tries_its_function() -> None:
    assert all(name in expression for _, name, expression in LINES)


def test_a_key_is_made_once() -> None:
    with pytest.raises(EvaluationError, match="key x already exists"):
        compile_expression("{'a': 1, 'b': 2}.transformMapEntry(k, v, {'x': v})", {}).evaluate({}, 1_000_000)
    with pytest.raises(InvalidExpression):
        compile_expression("{'a': 1}.transformMapEntry(k, v, v)", {})


@pytest.mark.parametrize("name", ["path", "group", "serviceAccount"])
def test_rules_of_definitions_ask_no_authorizer(name: str) -> None:
    with pytest.raises(InvalidExpression):
        compile_expression(f"authorizer.{name}('x')", {})
