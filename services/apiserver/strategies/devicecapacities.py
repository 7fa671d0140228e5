"""Rules about how much of a capacity of a device one request may take, and in which steps. Pure.

Specified by Kubernetes' resource.k8s.io/v1.
"""

from __future__ import annotations

from decimal import Decimal

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.resource.v1 import resource_pb2 as devices
from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, duplicate, forbidden, invalid, required, too_many
from knarr.objects.amounts import exact

MAX_VALUES = 10


def validate_capacity(capacity: devices.DeviceCapacity, path: Path, *, shared: bool) -> list[Cause]:
    if not capacity.HasField("request_policy"):
        return []
    policy, here = capacity.request_policy, path.child("requestPolicy")
    if not shared:
        return [forbidden(here, "allowMultipleAllocations must be true")]
    if policy.valid_values and policy.HasField("valid_range"):
        return [forbidden(here, 'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time')]
    if not policy.valid_values and not policy.HasField("valid_range"):
        return []
    name, check = ("validValues", _values) if policy.valid_values else ("validRange", _range)
    if not policy.HasField("default"):
        return [required(here.child("default"), f"required when {name} is defined")]
    return check(policy, capacity.value, here.child(name))


def _amount(value: meta.Quantity) -> Decimal:
    """One that is malformed is told of elsewhere."""
    return exact(value) or Decimal(0)


def _values(policy: devices.CapacityRequestPolicy, most: meta.Quantity, path: Path) -> list[Cause]:
    values = list(policy.valid_values)
    if len(values) > MAX_VALUES:
        return [too_many(path, len(values), MAX_VALUES)]
    causes: list[Cause] = []
    for index, value in enumerate(values):
        here = path.index(index)
        if index and _amount(values[index - 1]) > _amount(value):
            causes.append(invalid(here, value.string, "values must be sorted in ascending order"))
        if _amount(value) > _amount(most):
            causes.append(invalid(here, value.string, f"option is larger than capacity value: {most.string}"))
        if any(_amount(value) == _amount(other) for other in values[:index]):
            causes.append(duplicate(here, value.string))
    if all(_amount(value) != _amount(policy.default) for value in values):
        causes.append(invalid(path, policy.default.string, "default value is not valid according to the requestPolicy"))
    return causes


def _range(policy: devices.CapacityRequestPolicy, most: meta.Quantity, path: Path) -> list[Cause]:
    given, default = policy.valid_range, _amount(policy.default)
    if not given.HasField("min"):
        return [required(path.child("min"), "required when validRange is defined")]
    low, causes = _amount(given.min), list[Cause]()
    if low > _amount(most):
        causes.append(invalid(path.child("min"), given.min.string, f"min is larger than capacity value: {most.string}"))
    if default < low:
        causes.append(invalid(path.child("default"), policy.default.string, f"default is less than min: {given.min.string}"))
    if given.HasField("max"):
        high, here = _amount(given.max), path.child("max")
        if low > high:
            causes.append(invalid(here, given.min.string, f"min is larger than max: {given.max.string}"))
        if high > _amount(most):
            causes.append(invalid(here, given.max.string, f"max is larger than capacity value: {most.string}"))
        if default > high:
            causes.append(invalid(path.child("default"), policy.default.string, f"default is more than max: {given.max.string}"))
    return causes + (_step(policy, most, path.child("step")) if given.HasField("step") else [])


def _step(policy: devices.CapacityRequestPolicy, most: meta.Quantity, path: Path) -> list[Cause]:
    given, low, step = policy.valid_range, _amount(policy.valid_range.min), _amount(policy.valid_range.step)
    if step <= 0:
        return [invalid(path, given.step.string, "must be greater than zero")]
    causes: list[Cause] = []
    if low + step > _amount(most):
        first = f"{(low + step).normalize():f}"
        causes.append(invalid(path, given.step.string, f"one step {first} is larger than capacity value: {most.string}"))
    for value in (policy.default, *([given.max] if given.HasField("max") else [])):
        if (_amount(value) - low) % step:
            words = f"value is not a multiple of a given step ({given.step.string}) from ({given.min.string})"
            causes.append(invalid(path, value.string, words))
    return causes
