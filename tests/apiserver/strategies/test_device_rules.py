"""Selectors of devices are judged when they are written; what a claim is given, and for whom, when that is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.objects.copies import copy_of
from knarr.objects.devices import MOST_CONSUMERS, MOST_DEVICES
from services.apiserver.strategies.devices import DeviceClassStrategy, ResourceClaimStrategy

NESTED = "".join(f"device.attributes['a'].all(v{depth}, " for depth in range(6)) + "true" + ")" * 6


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ('device.driver == "cards.example.com" && device.capacity["a"].memory.isGreaterThan(quantity("1Gi"))', ""),
        ('cel.bind(a, device.attributes["a"], a.fast && a.firmware.isLessThan(semver("2.0.0")))', ""),
        ("device.allowMultipleAllocations", ""),
        ('device.attributes["a"].fast', ""),
        ("device.drivr == 'a'", "undefined field 'drivr'"),
        ("device.driver", "must evaluate to bool or the unknown type, not string"),
        ("device.driver ==", "compilation failed: ERROR"),
        ("", "Required value"),
        (NESTED, "too complex, exceeds cost limit"),
    ],
)
def test_expressions(expression: str, words: str) -> None:
    made = resource.DeviceClass()
    made.spec.selectors.add().cel.expression = expression
    causes = DeviceClassStrategy().validate(made)
    assert [cause.field for cause in causes] == (["spec.selectors[0].cel.expression"] if words else [])
    assert all(words in f"{cause.reason} {cause.message}" for cause in causes)


def given(count: int = 1) -> resource.ResourceClaim:
    made = resource.ResourceClaim()
    made.spec.devices.requests.add(name="r").exactly.device_class_name = "cards"
    for number in range(count):
        made.status.allocation.devices.results.add(request="r", driver="d.example.com", pool="p", device=f"d{number}")
    return made


def used(*uids: str, count: int = 1) -> resource.ResourceClaim:
    made = given(count)
    for uid in uids:
        made.status.reserved_for.add(resource="pods", name=uid, uid=uid)
    return made


def ending(claim: resource.ResourceClaim) -> resource.ResourceClaim:
    made = copy_of(claim)
    made.metadata.deletion_timestamp.seconds = 1
    return made


EMPTY = given(0)


def unallocated(claim: resource.ResourceClaim) -> resource.ResourceClaim:
    made = copy_of(claim)
    made.status.ClearField("allocation")
    return made


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        (EMPTY, used("a"), ""),
        (used("a"), used("a", "b"), ""),
        (used("a"), EMPTY, ""),
        (given(), given(2), "status.allocation"),
        (EMPTY, given(MOST_DEVICES), ""),
        (EMPTY, given(MOST_DEVICES + 1), "status.allocation.devices.results"),
        (ending(EMPTY), ending(given()), "status.allocation"),
        (EMPTY, unallocated(used("a")), "status.reservedFor"),
        (given(), used(*(f"u{number}" for number in range(MOST_CONSUMERS))), ""),
        (given(), used(*(f"u{number}" for number in range(MOST_CONSUMERS + 1))), "status.reservedFor"),
        (given(), used("a", "a"), "status.reservedFor[1]"),
        (ending(used("a")), ending(used("a", "b")), "status.reservedFor"),
        (ending(used("a", "b")), ending(used("a")), ""),
    ],
)
def test_what_a_claim_is_given(old: Any, new: Any, field: str) -> None:
    judge: Callable[[Any, Any], Any] = ResourceClaimStrategy().validate_status_update
    assert [str(cause.field) for cause in judge(new, old)] == ([field] if field else [])
