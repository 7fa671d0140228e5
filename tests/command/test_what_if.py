"""``knarr whatif``: what a person reads, and what is asked."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from knarr.api.scheduler.v1 import scheduler_service_pb2 as face
from knarr.api.scheduler.v1 import what_if_pb2
from services.command import what_if as asking
from services.command.main import knarr
from services.command.what_if import told


def test_pods_budgets_and_what_is_left_out() -> None:
    answer = what_if_pb2.WhatIfResponse(limits=["nobody of lower priority is made to go"])
    answer.pods.add(namespace="shop", pod="a", fate=what_if_pb2.FATE_PLACED, to="n2", **{"from": "n1"})
    answer.pods.add(
        namespace="shop", pod="b", fate=what_if_pb2.FATE_WAITS, reason="0/2 nodes are available: 2 Insufficient cpu.", **{"from": "n1"}
    )
    for name, allowed in (("none", 0), ("some", 1), ("all", 2)):
        answer.budgets.add(namespace="shop", name=name, allowed=allowed, pods=["a", "b"])
    assert list(told(answer)) == [
        "NAMESPACE  POD  FROM  TO  WHAT    WHY",
        "shop       a    n1    n2  placed  -",
        "shop       b    n1    -   waits   0/2 nodes are available: 2 Insufficient cpu.",
        "budget shop/none allows 0 of 2 evictions now: none can be evicted",
        "budget shop/some allows 1 of 2 evictions now: the others follow once those that went are ready elsewhere",
        "budget shop/all allows 2 of 2 evictions now",
        "note: nobody of lower priority is made to go",
    ]
    assert list(told(what_if_pb2.WhatIfResponse())) == ["it makes no difference to any pod"]


@pytest.mark.parametrize(
    ("arguments", "change"),
    [
        (["drain", "n1"], {"drain_node": {"node": "n1"}}),
        (["delete", "a", "-n", "shop"], {"delete_pod": {"namespace": "shop", "pod": "a"}}),
        (
            ["set-requests", "a", "cpu=1", "memory=", "-c", "main"],
            {"set_requests": {"namespace": "default", "pod": "a", "container": "main", "requests": {"cpu": "1", "memory": ""}}},
        ),
        (["add-node", "--like", "n1", "--count", "3"], {"add_node": {"like": "n1", "count": 3}}),
    ],
)
def test_what_is_asked(arguments: list[str], change: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = []

    async def answered(files: Any, component: str, method: Any, question: face.WhatIfRequest, seconds: float) -> Any:
        path = method(SimpleNamespace(unary_unary=lambda path, **_: path))
        questions.append((component, path.rpartition("/")[2], question))
        return what_if_pb2.WhatIfResponse(pods=[what_if_pb2.PodOutcome(pod="a", fate=what_if_pb2.FATE_WAITS)])

    monkeypatch.setattr(asking, "answered", answered)
    result = CliRunner().invoke(knarr, ["whatif", *arguments, "--data-dir", str(tmp_path), "-o", "json"], standalone_mode=False)
    assert questions == [("scheduler", "WhatIf", face.WhatIfRequest(**change))]
    assert result.return_value == 1 and '"fate": "FATE_WAITS"' in result.output


def test_an_amount_without_a_resource_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(knarr, ["whatif", "set-requests", "a", "500m", "--data-dir", str(tmp_path)])
    assert result.exit_code == 2 and "'500m' is not RESOURCE=AMOUNT, like cpu=500m" in result.output
