from __future__ import annotations

import numpy as np
import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.scheduler import node_table
from services.scheduler.node_table import NodeTable
from services.scheduler.parts import NODE_LABELS
from services.scheduler.row_cache import RowCache
from tests.scheduler.objects import node


class Counting:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, colour: str, found: core.Node) -> bool:
        self.calls.append(found.metadata.name)
        return found.metadata.labels["colour"] == colour if "colour" in found.metadata.labels else False


def test_only_changed_rows_are_computed_again() -> None:
    table, evaluate = NodeTable([NODE_LABELS]), Counting()
    cache = RowCache([NODE_LABELS], evaluate, np.bool_)
    for number in range(20):
        table.put_node(node(f"n{number}"))
    assert not cache.get(table, "red", "red").any() and len(evaluate.calls) == 20
    evaluate.calls.clear()
    table.put_node(node("n3", labels={"colour": "red"}))
    table.put_node(node("new", labels={"colour": "red"}))
    table.remove_node("n7")
    assert sorted(np.flatnonzero(cache.get(table, "red", "red"))) == [table.rows["n3"], table.rows["new"]]
    assert sorted(evaluate.calls) == ["n3", "new"]
    heartbeat = node("n4")
    heartbeat.status.conditions.add(type="Ready", status="True")
    evaluate.calls.clear()
    assert not table.put_node(heartbeat)
    cache.get(table, "red", "red")
    assert evaluate.calls == []


def test_what_is_forgotten_is_computed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_table, "REMEMBERED_CHANGES", 3)
    table, evaluate = NodeTable([NODE_LABELS]), Counting()
    cache = RowCache([NODE_LABELS], evaluate, np.bool_)
    table.put_node(node("a"))
    cache.get(table, "red", "red")
    for colour in ("green", "blue", "green", "blue", "red", "blue", "red"):
        table.put_node(node("a", labels={"colour": colour}))
    table.put_node(node("b", labels={"colour": "red"}))
    assert list(cache.get(table, "red", "red")) == [True, True]
