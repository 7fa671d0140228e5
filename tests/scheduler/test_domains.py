"""Domains are what nodes' labels say, however many values and labels there were before."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from knarr.api.core.v1 import core_pb2 as core
from services.scheduler import domains
from services.scheduler.domains import Domains
from services.scheduler.node_table import NodeTable
from services.scheduler.nodes import Nodes
from services.scheduler.parts import NODE_LABELS
from services.scheduler.view import View
from tests.scheduler.objects import node

LABELS = ("zone", "rack", "row", "disk")
NODES = st.builds(
    lambda name, labels: node(name, labels=labels),
    st.sampled_from([f"n{number}" for number in range(5)]),
    st.dictionaries(st.sampled_from(LABELS), st.sampled_from("abcdef")),
)


def check(found: Domains, nodes: Nodes, label: str) -> None:
    domain = found.of(nodes, label)
    values = {row: dict(nodes.node(row).metadata.labels).get(label) for row in nodes.rows.values()}
    numbers = {row: int(domain.numbers[row]) for row in values}
    assert len(domain.numbers) == nodes.size and max(domain.numbers, default=0) <= domain.count
    for row, value in values.items():
        assert (numbers[row] == 0) == (value is None)
        assert all((numbers[row] == numbers[other]) == (value == values[other]) for other in values)


@given(st.lists(st.tuples(NODES, st.sampled_from(LABELS), st.booleans(), st.booleans()), max_size=30))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_numbers_given_anew_agree_with_what_is_kept(monkeypatch: pytest.MonkeyPatch, steps: list[Any]) -> None:
    monkeypatch.setattr(domains, "NUMBERS_KEPT", 2)
    table, found = NodeTable([NODE_LABELS]), Domains([NODE_LABELS])
    for changed, label, goes, shown in steps:
        nodes = View(table) if shown else table
        if goes:
            nodes.remove_node(changed.metadata.name)
        else:
            nodes.put_node(changed)
        check(found, nodes, label)
        check(found, table, label)


def test_labels_that_no_node_has_cost_nothing() -> None:
    table, found = NodeTable([NODE_LABELS]), Domains([NODE_LABELS])
    table.put_node(node("n1", labels={"zone": "a"}))
    check(found, table, "zone")
    # Whoever would read it would fail.
    table.nodes[0] = cast("core.Node", object())
    for number in range(600):
        domain = found.of(table, f"example.com/{number}")
        assert domain.count == 0 and domain.numbers.tolist() == [0]
