"""What expressions cost, to Kubernetes' unit."""

from __future__ import annotations

from pathlib import Path

import pytest

from knarr.machinery.cel.compiler import compile_expression

LINES = [line.split("\t") for line in Path(__file__).with_name("costs.tsv").read_text().splitlines() if not line.startswith("#")]


@pytest.mark.parametrize(("expression", "estimated", "counted"), LINES)
def test_functions_cost_what_kubernetes_counts(expression: str, estimated: str, counted: str) -> None:
    program = compile_expression(expression, {})
    assert program.evaluate({}, 1_000_000)[1] == int(counted)
    if estimated:
        assert program.cost == int(estimated)
