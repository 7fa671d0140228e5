"""One spelling for equal objects, held to a slow look at every field."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given
from hypothesis import strategies as st

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.networking.v1 import networking_pb2 as networking
from knarr.machinery.quantity import in_thousandths
from knarr.machinery.schema import fields_of
from services.apiserver.canonical import canonicalize

KINDS = [core.Pod, core.Node, core.ConfigMap, core.PersistentVolumeClaim, apps.Deployment, apps.StatefulSet, networking.NetworkPolicy]


def expected(message: Any) -> None:
    for field in fields_of(message.DESCRIPTOR):
        if field.message is None:
            continue
        name = field.descriptor.name
        if field.type_name == "ResourceList":
            for amount in getattr(message, name).values():
                amount.string = in_thousandths(amount.string)
        elif field.is_list or field.is_map:
            found = getattr(message, name)
            for value in found.values() if field.is_map else found:
                expected(value)
        elif message.HasField(name):
            expected(getattr(message, name))
            if field.is_struct and not getattr(message, name).ListFields():
                message.ClearField(name)


def fill(draw: Any, message: Any, depth: int) -> None:
    """Sets some fields that hold messages, many of them to nothing."""
    for field in fields_of(message.DESCRIPTOR):
        if field.message is None or depth == 0 or draw(st.integers(0, 3)) != 0:
            continue
        found = getattr(message, field.descriptor.name)
        if field.type_name == "ResourceList":
            found["cpu"].string = draw(st.sampled_from(["0.0001", "1m", "1", "100u", "none"]))
        elif field.is_map:
            fill(draw, found["key"], depth - 1)
        elif field.is_list:
            fill(draw, found.add(), depth - 1)
        else:
            found.SetInParent()
            fill(draw, found, depth - 1)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.DESCRIPTOR.name)
@given(data=st.data())
def test_it_is_what_a_look_at_every_field_finds(kind: Any, data: st.DataObject) -> None:
    message = GetMessageClass(kind.DESCRIPTOR)()
    fill(data.draw, message, 5)
    other = GetMessageClass(kind.DESCRIPTOR)()
    other.CopyFrom(message)
    canonicalize(message)
    expected(other)
    assert message.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)
