"""Fields and resources of a pod as text, as Kubernetes writes them."""

from __future__ import annotations

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.node.view import NodeView
from services.kubelet.pod.downward import field_value, resource_value

ALLOCATABLE = {"cpu": "2", "memory": "1Gi", "ephemeral-storage": "10Gi", "hugepages-2Mi": "64Mi"}
NODE = NodeView("n", "192.0.2.1", ALLOCATABLE)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("", '""'),
        ('a "b" \\', r'"a \"b\" \\"'),
        ("\a\b\f\n\r\t\v", r'"\a\b\f\n\r\t\v"'),
        ("\x00\x01\x1b\x7f", r'"\x00\x01\x1b\x7f"'),
        ("é€ \U0001f600\ufffd", '"é€ \U0001f600\ufffd"'),
        ("\u00a0\u200b\u2028\U000e0001", r'"\u00a0\u200b\u2028\U000e0001"'),
    ],
)
def test_values_of_annotations_are_quoted_as_go_quotes_them(text: str, written: str) -> None:
    pod = core.Pod()
    pod.metadata.annotations["k"] = text
    assert field_value(pod, "metadata.annotations", NODE, "") == f"k={written}"
    assert field_value(pod, "metadata.annotations['k']", NODE, "") == text


@pytest.mark.parametrize(
    ("limits", "resource", "divisor", "text"),
    [
        ({"cpu": "250m"}, "limits.cpu", "", "1"),
        ({"cpu": "250m"}, "limits.cpu", "1m", "250"),
        ({"memory": "100000001"}, "limits.memory", "1Mi", "96"),
        ({}, "limits.cpu", "", "2"),
        ({"memory": "0"}, "limits.memory", "1Mi", "1024"),
        ({}, "limits.ephemeral-storage", "1Gi", "10"),
        ({}, "limits.hugepages-2Mi", "", "0"),
        ({}, "requests.memory", "", "0"),
    ],
)
def test_a_limit_that_is_not_set_is_what_the_node_has(limits: dict[str, str], resource: str, divisor: str, text: str) -> None:
    pod = core.Pod()
    spec = pod.spec.containers.add(name="c")
    for name, amount in limits.items():
        spec.resources.limits[name].string = amount
    selector = core.ResourceFieldSelector(resource=resource)
    selector.divisor.string = divisor
    assert resource_value(pod, selector, "c", NODE) == text
