"""Amounts of a pod: init containers, sidecars, overhead."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.objects.amounts import assumed_requests, exact, pod_requests, whole

CPUS = st.integers(0, 4000)
CONTAINERS = st.lists(st.tuples(st.sampled_from(["init", "sidecar", "main"]), CPUS), max_size=8)


def pod_of(*containers: tuple[str, str], overhead: str = "") -> core.Pod:
    """Containers as (kind, cpu); no amount where it is empty."""
    pod = core.Pod()
    for kind, cpu in containers:
        container = (pod.spec.containers if kind == "main" else pod.spec.init_containers).add()
        if kind == "sidecar":
            container.restart_policy = "Always"
        if cpu:
            container.resources.requests["cpu"].string = cpu
    if overhead:
        pod.spec.overhead["cpu"].string = overhead
    return pod


@pytest.mark.parametrize(
    ("containers", "milli"),
    [
        ([("main", "1"), ("main", "500m")], 1500),
        ([("init", "2"), ("main", "1")], 2000),
        ([("init", "500m"), ("init", "700m"), ("main", "1")], 1000),
        # A sidecar runs on: beside the main containers, and beside the init containers after it, not those before.
        ([("sidecar", "300m"), ("main", "1")], 1300),
        ([("init", "2"), ("sidecar", "300m"), ("main", "1")], 2000),
        ([("sidecar", "300m"), ("init", "2"), ("main", "1")], 2300),
        ([("sidecar", "300m"), ("sidecar", "400m"), ("main", "")], 700),
    ],
)
def test_the_most_at_any_time(containers: list[tuple[str, str]], milli: int) -> None:
    assert pod_requests(pod_of(*containers)) == {"cpu": milli}
    assert pod_requests(pod_of(*containers, overhead="100m")) == {"cpu": milli + 100}


@given(CONTAINERS)
def test_requests_are_those_of_the_worst_moment(containers: list[tuple[str, int]]) -> None:
    pod = pod_of(*((kind, f"{cpu}m") for kind, cpu in containers))
    running, moments = 0, [0]
    for kind, cpu in containers:
        if kind == "sidecar":
            running += cpu
            moments.append(running)
        elif kind == "init":
            moments.append(running + cpu)
    moments.append(running + sum(cpu for kind, cpu in containers if kind == "main"))
    assert pod_requests(pod).get("cpu", 0) == max(moments)


def test_a_need_is_assumed_where_none_is_said() -> None:
    assert assumed_requests(pod_of(("main", ""), ("main", "1"))) == (1100, 2 * 200 * 1024 * 1024)


def test_whole_units_round_up() -> None:
    assert whole("cpu", "0.0001") == 1
    assert whole("memory", "1.5") == 2
    assert whole("memory", "1Ki") == 1024


@pytest.mark.parametrize(("text", "value"), [("1500m", Decimal("1.5")), ("", Decimal(0)), ("1Ki", Decimal(1024)), ("much", None)])
def test_exact_values(text: str, value: Decimal | None) -> None:
    assert exact(meta.Quantity(string=text)) == value


def test_what_a_pod_asks_for_as_a_whole_counts_instead() -> None:
    pod = pod_of(("main", "1"), ("init", "3"), overhead="100m")
    pod.spec.resources.requests["cpu"].string = "2"
    pod.spec.resources.requests["ephemeral-storage"].string = "1Gi"
    pod.spec.containers[0].resources.requests["memory"].string = "1Gi"
    assert pod_requests(pod) == {"cpu": 2100, "memory": 1 << 30}
    assert assumed_requests(pod) == (2100, 1 << 30)
