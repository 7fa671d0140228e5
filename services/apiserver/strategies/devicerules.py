"""Rules about the parts of devices and of claims to them: facts, counters, taints; constraints, settings, tolerations. Pure.

Specified by Kubernetes' resource.k8s.io/v1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.resource.v1 import resource_pb2 as devices
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    GoSyntax,
    Path,
    c_identifier,
    check_choice,
    check_format,
    dns1123_label,
    dns1123_subdomain,
    duplicate,
    forbidden,
    invalid,
    label_value,
    qualified_name,
    required,
    too_long,
    too_many,
)
from knarr.objects.amounts import exact
from services.apiserver.strategies.pod.scheduling import validate_node_selector_term
from services.apiserver.strategies.volumes import check_driver_name

EFFECTS = ("NoExecute", "NoSchedule", "None")
MAX_REFERENCES, MAX_CONSTRAINTS, MAX_SETTINGS, MAX_TOLERATIONS = 32, 32, 32, 16
MAX_FACTS, MAX_TAINTS, MAX_CONDITIONS, MAX_CONSUMPTIONS, MAX_COUNTERS, MAX_COUNTER_SETS, MAX_VALUES, MAX_SAID = 32, 16, 4, 2, 32, 8, 10, 8
LONGEST_NAME, LONGEST_TEXT, LONGEST_SETTINGS = 32, 64, 10 * 1024
# https://semver.org, 2.0.0
_NUMBER, _WORD = r"(0|[1-9]\d*)", r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
SEMVER = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-{_WORD}(\.{_WORD})*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?", re.ASCII)
REFERENCE_WORDS = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
OWN_NODES = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec"
ONE_PLACE = (
    "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the "
    "ResourceSlice spec"
)


def validate_claim_parts(claim: devices.DeviceClaim, path: Path) -> list[Cause]:
    """What a claim says of its requests together: which devices go with one another, and their settings."""
    names = _request_names(claim)
    causes = _each(claim.constraints, MAX_CONSTRAINTS, path.child("constraints"), lambda one, here: _constraint(one, names, here))
    settings = path.child("config")
    return causes + _each(
        claim.config,
        MAX_SETTINGS,
        settings,
        lambda one, here: _references(one.requests, names, here.child("requests")) + _settings(one.device_configuration, here),
    )


def validate_given(given: devices.DeviceAllocationResult, claim: devices.DeviceClaim, path: Path) -> list[Cause]:
    """What a claim is given: for requests of its own, devices that there can be."""
    names, path = _request_names(claim), path.child("devices")
    causes: list[Cause] = []
    for index, one in enumerate(given.results):
        here = path.child("results").index(index)
        causes += _reference(one.request, names, here.child("request")) + _whose(one, here) + _binding(one, here)
    for index, config in enumerate(given.config):
        here = path.child("config").index(index)
        source = here.child("source")
        causes += check_choice(source, config.source, ("FromClaim", "FromClass")) if config.source else [required(source)]
        causes += _references(config.requests, names, here.child("requests")) + _settings(config.device_configuration, here)
    return causes


def validate_said_of_devices(status: devices.ResourceClaimStatus, path: Path) -> list[Cause]:
    """What drivers say of the devices that a claim has been given: of no others, and of each once."""
    given = {_identity(one) for one in status.allocation.devices.results}
    causes, seen = list[Cause](), set[tuple[str, ...]]()
    for index, said in enumerate(status.devices):
        here, identity = path.index(index), _identity(said)
        causes += _whose(said, here)
        if identity not in given:
            causes.append(invalid(here, "/".join(filter(None, identity)), "must be an allocated device in the claim"))
        if identity in seen:
            causes.append(duplicate(here, "/".join(filter(None, identity))))
        seen.add(identity)
        if len(said.conditions) > MAX_SAID:
            causes.append(too_many(here.child("conditions"), len(said.conditions), MAX_SAID))
    return causes


def validate_pool_name(name: str, path: Path) -> list[Cause]:
    return [cause for part in name.split("/") for cause in check_format(path, part, dns1123_subdomain)] if name else [required(path)]


def _identity(device: devices.DeviceRequestAllocationResult | devices.AllocatedDeviceStatus) -> tuple[str, ...]:
    return device.driver, device.pool, device.device, device.share_id


def _whose(device: devices.DeviceRequestAllocationResult | devices.AllocatedDeviceStatus, path: Path) -> list[Cause]:
    here = path.child("device")
    causes = check_driver_name(device.driver, path.child("driver")) + validate_pool_name(device.pool, path.child("pool"))
    return causes + (check_format(here, device.device, dns1123_label) if device.device else [required(here)])


def _request_names(claim: devices.DeviceClaim) -> set[str]:
    """Those of a claim's requests, and of the alternatives of each after it."""
    alternatives = {f"{request.name}/{one.name}" for request in claim.requests for one in request.first_available}
    return alternatives | {request.name for request in claim.requests}


def validate_class_settings(config: Sequence[devices.DeviceClassConfiguration], path: Path) -> list[Cause]:
    return _each(config, MAX_SETTINGS, path, lambda one, here: _settings(one.device_configuration, here))


def validate_device_tolerations(tolerations: Sequence[devices.DeviceToleration], path: Path) -> list[Cause]:
    return _each(tolerations, MAX_TOLERATIONS, path, _toleration)


def validate_device(device: devices.Device, path: Path, *, own_nodes: bool) -> list[Cause]:
    """All but its name. ``own_nodes``: each device of the slice says itself where it is."""
    count = len(device.attributes) + len(device.capacity)
    causes = (
        [] if count <= MAX_FACTS else [invalid(path, count, f"the total number of attributes and capacities must not exceed {MAX_FACTS}")]
    )
    causes += _by_name(device.attributes, path.child("attributes"), _fact_name, _attribute)
    shared = device.allow_multiple_allocations
    causes += _by_name(device.capacity, path.child("capacity"), _fact_name, lambda one, here: _capacity(one, here, shared=shared))
    causes += _each(device.taints, MAX_TAINTS, path.child("taints"), validate_device_taint)
    consumed = path.child("consumesCounters")
    causes += _each(
        device.consumes_counters, MAX_CONSUMPTIONS, consumed, lambda one, here: _counters(one.counter_set, "counterSet", one, here)
    )
    causes += _repeated([one.counter_set for one in device.consumes_counters], consumed)
    return causes + _place(device, path, own=own_nodes) + _binding(device, path)


def validate_counter_sets(sets: Sequence[devices.CounterSet], path: Path) -> list[Cause]:
    causes = _each(sets, MAX_COUNTER_SETS, path, lambda one, here: _counters(one.name, "name", one, here))
    return causes + _repeated([one.name for one in sets], path)


def validate_device_taint(taint: devices.DeviceTaint, path: Path) -> list[Cause]:
    causes = check_format(path.child("key"), taint.key, qualified_name)
    causes += check_format(path.child("value"), taint.value, label_value) if taint.value else []
    effect = path.child("effect")
    return causes + (check_choice(effect, taint.effect, EFFECTS) if taint.effect else [required(effect)])


def _each(values: Sequence[Any], limit: int, path: Path, check: Callable[[Any, Path], list[Cause]]) -> list[Cause]:
    """None is looked at where there are too many."""
    if len(values) > limit:
        return [too_many(path, len(values), limit)]
    return [cause for index, value in enumerate(values) for cause in check(value, path.index(index))]


def _by_name(
    values: Mapping[str, Any], path: Path, check_name: Callable[[str, Path], list[Cause]], check: Callable[[Any, Path], list[Cause]]
) -> list[Cause]:
    return [cause for name in sorted(values) for cause in (*check_name(name, path.key(name)), *check(values[name], path.key(name)))]


def _repeated(names: Iterable[str], path: Path) -> list[Cause]:
    seen, causes = set[str](), list[Cause]()
    for index, name in enumerate(names):
        if name in seen:
            causes.append(duplicate(path.index(index), name))
        seen.add(name)
    return causes


def _constraint(constraint: devices.DeviceConstraint, names: set[str], path: Path) -> list[Cause]:
    causes = _references(constraint.requests, names, path.child("requests"))
    if constraint.HasField("match_attribute"):
        return causes + _whole_name(constraint.match_attribute, path.child("matchAttribute"))
    if constraint.HasField("distinct_attribute"):
        return causes + _whole_name(constraint.distinct_attribute, path.child("distinctAttribute"))
    return [*causes, required(path, 'exactly one of "matchAttribute" or "distinctAttribute" is required')]


def _references(given: Sequence[str], names: set[str], path: Path) -> list[Cause]:
    return _each(given, MAX_REFERENCES, path, lambda name, here: _reference(name, names, here)) + _repeated(given[:MAX_REFERENCES], path)


def _reference(name: str, names: set[str], path: Path) -> list[Cause]:
    parts = name.split("/")
    if len(parts) > 2:
        return [invalid(path, name, REFERENCE_WORDS)]
    causes = [cause for part in parts for cause in check_format(path, part, dns1123_label)]
    return causes if name in names else [*causes, invalid(path, name, REFERENCE_WORDS)]


def _settings(settings: devices.DeviceConfiguration, path: Path) -> list[Cause]:
    here = path.child("opaque")
    if not settings.HasField("opaque"):
        return [required(here)]
    return check_driver_name(settings.opaque.driver, here.child("driver")) + _free(settings.opaque.parameters.raw, here.child("parameters"))


def _free(raw: bytes, path: Path) -> list[Cause]:
    """An object of JSON that only a driver understands."""
    if not raw:
        return [required(path)]
    if len(raw) > LONGEST_SETTINGS:
        return [too_long(path, LONGEST_SETTINGS)]
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        return [invalid(path, "<value omitted>", f"error parsing data as JSON: {error}")]
    if found is None:
        return [required(path)]
    return [] if isinstance(found, dict) else [invalid(path, "<value omitted>", "must be a valid JSON object")]


def _toleration(toleration: devices.DeviceToleration, path: Path) -> list[Cause]:
    causes = check_format(path.child("key"), toleration.key, qualified_name) if toleration.key else []
    operator, value = path.child("operator"), path.child("value")
    if not toleration.operator:
        causes.append(required(operator))
    elif toleration.operator == "Exists":
        causes += [invalid(value, toleration.value, "must be empty for operator `Exists`")] if toleration.value else []
    elif toleration.operator == "Equal":
        causes += check_format(value, toleration.value, label_value)
    else:
        causes += check_choice(operator, toleration.operator, ("Equal", "Exists"))
    return causes + (check_choice(path.child("effect"), toleration.effect, EFFECTS) if toleration.effect else [])


def _fact_name(name: str, path: Path) -> list[Cause]:
    """Of an attribute or a capacity: that of the driver, or of a domain before it."""
    parts = name.split("/")
    if len(parts) > 2:
        return []  # Kubernetes does not look at these
    domain, identifier = ("", parts[0]) if len(parts) == 1 else parts
    causes: list[Cause] = []
    if len(parts) == 2:
        causes += check_driver_name(domain, path) if domain else [invalid(path, "", "the domain must not be empty")]
        if not identifier:
            return [*causes, invalid(path, "", "the name must not be empty")]
    if len(identifier) > LONGEST_NAME:
        causes.append(too_long(path, LONGEST_NAME))
    return causes + check_format(path, identifier, c_identifier)


def _whole_name(name: str, path: Path) -> list[Cause]:
    causes = _fact_name(name, path)
    if "/" not in name:
        causes.append(invalid(path, name, "a fully qualified name must be a domain and a name separated by a slash"))
    return causes


def _attribute(attribute: devices.DeviceAttribute, path: Path) -> list[Cause]:
    causes = [
        too_long(path.child(name), LONGEST_TEXT) for name in ("string", "version") if len(getattr(attribute, name).encode()) > LONGEST_TEXT
    ]
    if not causes and attribute.HasField("version") and not SEMVER.fullmatch(attribute.version):
        causes.append(invalid(path.child("version"), attribute.version, "must be a string compatible with semver.org spec 2.0.0"))
    given = len(attribute.ListFields())
    if given != 1:
        value = GoSyntax("resource.DeviceAttribute{…}") if given else ""
        causes.append(invalid(path, value, "exactly one value must be specified"))
    return causes


def _capacity(capacity: devices.DeviceCapacity, path: Path, *, shared: bool) -> list[Cause]:
    if not capacity.HasField("request_policy"):
        return []
    policy, here = capacity.request_policy, path.child("requestPolicy")
    if not shared:
        return [forbidden(here, "allowMultipleAllocations must be true")]
    if policy.valid_values and policy.HasField("valid_range"):
        return [forbidden(here, 'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time')]
    for field, name, given in (
        ("valid_values", "validValues", bool(policy.valid_values)),
        ("valid_range", "validRange", policy.HasField("valid_range")),
    ):
        if given and not policy.HasField("default"):
            return [required(here.child("default"), f"required when {name} is defined")]
        if given:
            check = _values if field == "valid_values" else _range
            return check(policy, capacity.value, here.child(name))
    return []


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
        causes.append(invalid(path.child("min"), policy.default.string, f"default is less than min: {given.min.string}"))
    if given.HasField("max"):
        high, here = _amount(given.max), path.child("max")
        if low > high:
            causes.append(invalid(here, given.min.string, f"min is larger than max: {given.max.string}"))
        if high > _amount(most):
            causes.append(invalid(here, given.max.string, f"max is larger than capacity value: {most.string}"))
        if default > high:
            causes.append(invalid(here, policy.default.string, f"default is more than max: {given.max.string}"))
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


def _counters(name: str, field: str, owner: devices.CounterSet | devices.DeviceCounterConsumption, path: Path) -> list[Cause]:
    here, counters = path.child(field), path.child("counters")
    causes = check_format(here, name, dns1123_label) if name else [required(here)]
    if not owner.counters:
        return [*causes, required(counters)]
    if len(owner.counters) > MAX_COUNTERS:
        return [*causes, too_many(counters, len(owner.counters), MAX_COUNTERS)]
    return causes + [cause for name in sorted(owner.counters) for cause in check_format(counters.key(name), name, dns1123_label)]


def _place(device: devices.Device, path: Path, *, own: bool) -> list[Cause]:
    """On which nodes it can be used, where the devices of a slice do not share that."""
    fields = (("node_name", "nodeName"), ("node_selector", "nodeSelector"), ("all_nodes", "allNodes"))
    named = [name for field, name in fields if device.HasField(field)]
    if not own:
        return [invalid(path, None, OWN_NODES)] if named else []
    causes: list[Cause] = []
    if "nodeName" in named:
        here = path.child("nodeName")
        causes += check_format(here, device.node_name, dns1123_subdomain) if device.node_name else [invalid(here, "", "must not be empty")]
    for index, term in enumerate(device.node_selector.node_selector_terms):
        causes += validate_node_selector_term(term, path.child("nodeSelector", "nodeSelectorTerms").index(index))
    if "nodeSelector" in named and not device.node_selector.node_selector_terms:
        causes.append(required(path.child("nodeSelector", "nodeSelectorTerms"), "must have at least one node selector term"))
    if "allNodes" in named and not device.all_nodes:
        causes.append(invalid(path.child("allNodes"), False, "must be either unset or set to true"))
    given = [f"`{name}`" for (field, name) in fields if device.HasField(field) and getattr(device, field)]
    if not given:
        causes.append(required(path, ONE_PLACE))
    if len(given) > 1:
        causes.append(invalid(path, f"{{{', '.join(given)}}}", ONE_PLACE))
    return causes


def _binding(device: devices.Device | devices.DeviceRequestAllocationResult, path: Path) -> list[Cause]:
    """The conditions that a pod waits for until it is bound, and those that it gives up at: none is both."""
    causes: list[Cause] = []
    lists = (("bindingConditions", device.binding_conditions), ("bindingFailureConditions", device.binding_failure_conditions))
    for name, conditions in lists:
        here = path.child(name)
        causes += _each(conditions, MAX_CONDITIONS, here, lambda one, place: check_format(place, one, qualified_name))
        causes += _repeated(conditions[:MAX_CONDITIONS], here)
    for index, condition in enumerate(device.binding_failure_conditions[:MAX_CONDITIONS]):
        if condition in device.binding_conditions[:MAX_CONDITIONS]:
            here = path.child("bindingFailureConditions").index(index)
            causes.append(invalid(here, condition, "bindingFailureConditions must not overlap with bindingConditions"))
    return causes
