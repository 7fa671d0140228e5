"""Rules about what a slice says of its devices: attributes, capacities, counters, taints, nodes, conditions. Pure.

Specified by Kubernetes' resource.k8s.io/v1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from knarr.api.resource.v1 import resource_pb2 as devices
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    CUT,
    Path,
    check_distinct,
    check_each,
    check_format,
    check_named,
    dns1123_label,
    invalid,
    qualified_name,
    required,
    too_long,
    too_many,
)
from services.apiserver.strategies.devicecapacities import validate_capacity
from services.apiserver.strategies.devicenames import check_fact_name
from services.apiserver.strategies.deviceplaces import validate_device_places
from services.apiserver.strategies.devicetaints import validate_device_taint

MAX_FACTS, MAX_TAINTS, MAX_CONDITIONS, MAX_CONSUMPTIONS, MAX_COUNTERS, MAX_COUNTER_SETS = 32, 16, 4, 2, 32, 8
LONGEST_TEXT = 64
# https://semver.org, 2.0.0
_NUMBER, _WORD = r"(0|[1-9]\d*)", r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
SEMVER = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-{_WORD}(\.{_WORD})*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?", re.ASCII)


def validate_device(device: devices.Device, path: Path, *, own_nodes: bool) -> list[Cause]:
    """All but its name. ``own_nodes``: each device of the slice says itself where it is."""
    count = len(device.attributes) + len(device.capacity)
    causes: list[Cause] = []
    if count > MAX_FACTS:
        causes.append(invalid(path, count, f"the total number of attributes and capacities must not exceed {MAX_FACTS}"))
    causes += _by_name(device.attributes, path.child("attributes"), check_fact_name, _attribute)
    shared = device.allow_multiple_allocations
    causes += _by_name(
        device.capacity, path.child("capacity"), check_fact_name, lambda one, here: validate_capacity(one, here, shared=shared)
    )
    causes += check_each(path.child("taints"), device.taints, MAX_TAINTS, validate_device_taint)
    here, consumed = path.child("consumesCounters"), device.consumes_counters
    causes += check_each(here, consumed, MAX_CONSUMPTIONS, lambda one, place: _counters(one.counter_set, "counterSet", one, place))
    causes += check_distinct(here, [one.counter_set for one in consumed])
    return causes + validate_device_places(device, path, own=own_nodes) + validate_binding(device, path)


def validate_counter_sets(sets: Sequence[devices.CounterSet], path: Path) -> list[Cause]:
    causes = check_each(path, sets, MAX_COUNTER_SETS, lambda one, here: _counters(one.name, "name", one, here))
    return causes + check_distinct(path, [one.name for one in sets])


def _by_name(
    values: Mapping[str, Any], path: Path, check_name: Callable[[str, Path], list[Cause]], check: Callable[[Any, Path], list[Cause]]
) -> list[Cause]:
    return [cause for name in sorted(values) for cause in (*check_name(name, path.key(name)), *check(values[name], path.key(name)))]


def _attribute(attribute: devices.DeviceAttribute, path: Path) -> list[Cause]:
    causes = _text(attribute.string, path.child("string"))
    causes += _version(attribute.version, path.child("version")) if attribute.HasField("version") else []
    causes += check_each(path.child("strings"), attribute.strings, None, _text)
    causes += check_each(path.child("versions"), attribute.versions, None, _version)
    given = len(attribute.ListFields())
    if given != 1:
        value = CUT if given else ""
        causes.append(invalid(path, value, "exactly one value must be specified"))
    return causes


def _text(text: str, path: Path) -> list[Cause]:
    return [too_long(path, LONGEST_TEXT)] if len(text.encode()) > LONGEST_TEXT else []


def _version(version: str, path: Path) -> list[Cause]:
    wrong = [] if SEMVER.fullmatch(version) else [invalid(path, version, "must be a string compatible with semver.org spec 2.0.0")]
    return wrong + _text(version, path)


def _counters(name: str, field: str, owner: devices.CounterSet | devices.DeviceCounterConsumption, path: Path) -> list[Cause]:
    here, counters = path.child(field), path.child("counters")
    causes = check_named(here, name, dns1123_label)
    if not owner.counters:
        return [*causes, required(counters)]
    if len(owner.counters) > MAX_COUNTERS:
        return [*causes, too_many(counters, len(owner.counters), MAX_COUNTERS)]
    return causes + [cause for name in sorted(owner.counters) for cause in check_format(counters.key(name), name, dns1123_label)]


def validate_binding(device: devices.Device | devices.DeviceRequestAllocationResult, path: Path) -> list[Cause]:
    """The conditions that a pod waits for until it is bound, and those that it gives up at: none is both."""
    causes: list[Cause] = []
    lists = (("bindingConditions", device.binding_conditions), ("bindingFailureConditions", device.binding_failure_conditions))
    for name, conditions in lists:
        here = path.child(name)
        causes += check_each(here, conditions, MAX_CONDITIONS, lambda one, place: check_format(place, one, qualified_name))
        causes += check_distinct(here, conditions[:MAX_CONDITIONS])
    for index, condition in enumerate(device.binding_failure_conditions[:MAX_CONDITIONS]):
        if condition in device.binding_conditions[:MAX_CONDITIONS]:
            here = path.child("bindingFailureConditions").index(index)
            causes.append(invalid(here, condition, "bindingFailureConditions must not overlap with bindingConditions"))
    for (name, conditions), (other, others) in zip(lists, reversed(lists), strict=True):
        if others and not conditions:
            causes.append(invalid(path.child(name), None, f"{name} are required to use {other}"))
    return causes
