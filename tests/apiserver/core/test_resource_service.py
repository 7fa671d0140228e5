"""What the gRPC face makes of the objects that it is sent."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import StatusError
from services.apiserver.servicer import type_url, unpack


def packed(message: core.Pod) -> AnyMessage:
    return AnyMessage(type_url=type_url(type(message)), value=message.SerializeToString())


def limits(pod: core.Pod) -> meta.Quantity:
    return pod.spec.containers.add(name="c").resources.limits["cpu"]


def divisor(pod: core.Pod) -> meta.Quantity:
    return pod.spec.containers.add(name="c").env.add(name="e").value_from.resource_field_ref.divisor


def allocated(pod: core.Pod) -> meta.Quantity:
    return pod.status.container_statuses.add(name="c").allocated_resources["cpu"]


@pytest.mark.parametrize(
    ("quantity", "path"),
    [
        (limits, "spec.containers[0].resources.limits[cpu]"),
        (divisor, "spec.containers[0].env[0].valueFrom.resourceFieldRef.divisor"),
        (allocated, "status.containerStatuses[0].allocatedResources[cpu]"),
    ],
)
def test_a_malformed_quantity_is_refused_wherever_it_stands(quantity: Callable[[core.Pod], meta.Quantity], path: str) -> None:
    pod = core.Pod()
    quantity(pod).string = "1.2.3"
    with pytest.raises(StatusError) as caught:
        unpack(core.Pod, packed(pod))
    assert caught.value.code == 400 and f"{path}: quantities must match" in str(caught.value)
    pod.Clear()
    quantity(pod).string = "0.5"
    assert "500m" in str(unpack(core.Pod, packed(pod)))


def test_what_is_no_such_object_is_refused() -> None:
    with pytest.raises(StatusError, match=r"the object is a knarr.api.core.v1.Pod; knarr.api.core.v1.Node is expected here"):
        unpack(core.Node, packed(core.Pod()))
    with pytest.raises(StatusError, match=r"the object is no knarr.api.core.v1.Pod"):
        unpack(core.Pod, AnyMessage(value=b"\x0a\xff"))
