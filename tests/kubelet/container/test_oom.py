"""The order in which the kernel ends containers when memory runs out."""

from __future__ import annotations

import pytest

from services.kubelet.container.oom import lowest_possible, oom_score_adj
from tests.kubelet.support import make_pod

GIB = 1 << 30


@pytest.mark.parametrize(
    ("requests", "limits", "lowest", "expected"),
    [
        ({}, {}, -1000, 1000),
        ({"cpu": "1", "memory": "1Gi"}, {"cpu": "1", "memory": "1Gi"}, -1000, -997),
        ({"cpu": "1", "memory": "1Gi"}, {"cpu": "1", "memory": "1Gi"}, 0, 0),
        ({"memory": "1Gi"}, {}, -1000, 750),
        ({"memory": "4Gi"}, {}, -1000, 3),
        ({"cpu": "1"}, {}, -1000, 999),
        ({"memory": "4Gi"}, {}, 200, 200),
    ],
)
def test_the_score_of_a_quality_of_service(requests: dict[str, str], limits: dict[str, str], lowest: int, expected: int) -> None:
    pod = make_pod()
    spec = pod.spec.containers[0]
    for amounts, field in ((requests, spec.resources.requests), (limits, spec.resources.limits)):
        for name, amount in amounts.items():
            field[name].string = amount
    assert oom_score_adj(pod, spec, 4 * GIB, lowest) == expected


def test_the_lowest_score_is_one() -> None:
    assert -1000 <= lowest_possible() <= 1000
