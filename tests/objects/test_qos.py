"""Quality-of-service classes."""

from __future__ import annotations

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.qos import qos_class, qos_of


@pytest.mark.parametrize(
    ("whole", "container", "expected"),
    [
        ({"requests": {"cpu": "1"}}, {}, "Burstable"),
        ({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}}, {}, "Guaranteed"),
        # What its containers ask for does not count then.
        ({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}}, {"cpu": "1m"}, "Guaranteed"),
        ({"limits": {"hugepages-2Mi": "2Mi"}, "requests": {"hugepages-2Mi": "2Mi"}}, {"cpu": "1"}, "BestEffort"),
    ],
)
def test_a_pod_that_asks_as_a_whole(whole: dict[str, dict[str, str]], container: dict[str, str], expected: str) -> None:
    spec = spec_with((container, {}))
    for kind, amounts in whole.items():
        for name, text in amounts.items():
            getattr(spec.resources, kind)[name].string = text
    assert qos_class(spec) == expected


def spec_with(*containers: tuple[dict[str, str], dict[str, str]], init: bool = False) -> core.PodSpec:
    spec = core.PodSpec()
    for requests, limits in containers:
        container = (spec.init_containers if init else spec.containers).add()
        for name, text in requests.items():
            container.resources.requests[name].string = text
        for name, text in limits.items():
            container.resources.limits[name].string = text
    return spec


@pytest.mark.parametrize(
    ("requests", "limits", "expected"),
    [
        ({}, {}, "BestEffort"),
        ({"cpu": "1"}, {}, "Burstable"),
        ({"cpu": "1", "memory": "1Gi"}, {"cpu": "1", "memory": "1Gi"}, "Guaranteed"),
        # The amounts count, not how they are written.
        ({"cpu": "1", "memory": "1Gi"}, {"cpu": "1000m", "memory": "1024Mi"}, "Guaranteed"),
        ({"cpu": "1", "memory": "1Gi"}, {"cpu": "2", "memory": "1Gi"}, "Burstable"),
        # A limit alone is a request too.
        ({}, {"cpu": "1", "memory": "1Gi"}, "Guaranteed"),
        ({}, {"cpu": "1"}, "Burstable"),
        # Zero asks for nothing; other resources do not count.
        ({"cpu": "0"}, {"memory": "0"}, "BestEffort"),
        ({"example.com/card": "1"}, {"example.com/card": "1"}, "BestEffort"),
        # What is malformed is refused elsewhere.
        ({"cpu": "much"}, {}, "BestEffort"),
    ],
)
def test_quality_of_service(requests: dict[str, str], limits: dict[str, str], expected: str) -> None:
    assert qos_class(spec_with((requests, limits))) == expected


def test_every_container_counts_init_containers_too() -> None:
    whole = {"cpu": "1", "memory": "1Gi"}
    assert qos_class(spec_with(({}, whole), ({}, whole))) == "Guaranteed"
    assert qos_class(spec_with(({}, whole), ({}, {}))) == "Burstable"
    spec = spec_with(({}, whole))
    spec.init_containers.add(name="bare")
    assert qos_class(spec) == "Burstable"


def test_the_class_that_a_pod_was_given_stays() -> None:
    pod = core.Pod(spec=spec_with(({}, {"cpu": "1", "memory": "1Gi"})))
    assert qos_of(pod) == "Guaranteed"
    pod.status.qos_class = "Burstable"
    assert qos_of(pod) == "Burstable"
