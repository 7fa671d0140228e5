"""``knarr why pod``: the table that a person reads."""

from __future__ import annotations

from knarr.api.scheduler.v1 import explain_pb2
from services.command.placement import told


def test_the_best_node_comes_first_and_each_refusal_says_why() -> None:
    answer = explain_pb2.ExplainResponse(choice="n2", scheduler_name="packing")
    answer.verdicts.add(node="n1", refused_by="NodeResourcesFit", reasons=["Insufficient cpu", "Too many pods"])
    answer.verdicts.add(node="n2", fits=True, scores={"NodeResourcesFit": 80, "ImageLocality": 7}, total_score=87)
    answer.verdicts.add(node="n3", fits=True, scores={"NodeResourcesFit": 9}, total_score=9)
    assert list(told(answer)) == [
        "NODE  SCORE  ImageLocality  NodeResourcesFit  REFUSED BY        WHY",
        "n2    87     7              80                -                 -",
        "n3    9      -              9                 -                 -",
        "n1    -      -              -                 NodeResourcesFit  Insufficient cpu; Too many pods",
        "packing: the best is n2",
    ]


def test_where_no_node_will_do_the_summary_is_said() -> None:
    answer = explain_pb2.ExplainResponse(scheduler_name="default-scheduler", summary="0/1 nodes are available: 1 Insufficient cpu.")
    answer.verdicts.add(node="n1", refused_by="NodeResourcesFit", reasons=["Insufficient cpu"])
    assert list(told(answer))[-1] == "default-scheduler: 0/1 nodes are available: 1 Insufficient cpu."
    assert list(told(explain_pb2.ExplainResponse(scheduler_name="x")))[-1] == "x: there is no node"
