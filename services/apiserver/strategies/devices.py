"""The strategies of resource.k8s.io: devices, the classes of them, and claims to them.

A claim is given devices once; it keeps them until it gives all of them back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from knarr.api.resource.v1 import resource_pb2 as devices
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    CUT,
    Path,
    check_each,
    check_format,
    check_immutable,
    check_named,
    check_not_negative,
    dns1123_label,
    dns1123_subdomain,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    required,
    too_long,
    too_many,
)
from knarr.objects.devices import ALL, EXACT_COUNT, MOST_CONSUMERS, MOST_DEVICES
from knarr.objects.keys import is_deleting
from services.apiserver.strategies.deviceclaims import validate_claim_parts, validate_class_settings, validate_device_tolerations
from services.apiserver.strategies.devicefacts import validate_counter_sets, validate_device
from services.apiserver.strategies.devicenames import validate_pool_name
from services.apiserver.strategies.deviceplaces import validate_slice_places
from services.apiserver.strategies.devicestatus import validate_allocated, validate_device_conditions, validate_device_statuses
from services.apiserver.strategies.devicetaints import validate_device_taint
from services.apiserver.strategies.paths import SPEC, STATUS
from services.apiserver.strategies.pod.scheduling import validate_node_selector
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns
from services.apiserver.strategies.volumes import check_driver_name

MODES = (ALL, EXACT_COUNT)
MAX_REQUESTS, MAX_ALTERNATIVES, MAX_SELECTORS, MAX_DEVICES, MAX_RICH_DEVICES = 32, 8, 32, 128, 64
MAX_EXPRESSION = 10 * 1024


class DeviceClassStrategy(Strategy):
    """A spec change makes a new generation."""

    columns = columns("Name", "Age")
    has_generation = True
    returns_deleted = True

    def validate(self, obj: devices.DeviceClass) -> list[Cause]:
        return _selectors(obj.spec.selectors, SPEC.child("selectors")) + validate_class_settings(obj.spec.config, SPEC.child("config"))

    def cells(self, obj: devices.DeviceClass, now: datetime) -> list[object]:
        return [obj.metadata.name, age(obj, now)]


class ResourceClaimStrategy(Strategy):
    """What is claimed is never changed."""

    columns = columns("Name", "State", "Age")
    returns_deleted = True

    def default(self, obj: devices.ResourceClaim) -> None:
        _default_claim(obj.spec)

    def validate(self, obj: devices.ResourceClaim) -> list[Cause]:
        return _claim(obj.spec.devices, SPEC.child("devices"))

    def validate_update(self, new: devices.ResourceClaim, old: devices.ResourceClaim) -> list[Cause]:
        return check_immutable(SPEC, new.spec, old.spec, CUT)

    def validate_status_update(self, new: devices.ResourceClaim, old: devices.ResourceClaim) -> list[Cause]:
        return [*_given(new, old), *_consumers(new, old), *validate_device_statuses(new.status, STATUS.child("devices"))]

    def cells(self, obj: devices.ResourceClaim, now: datetime) -> list[object]:
        states = ["deleted"] if obj.metadata.HasField("deletion_timestamp") else []
        states += ["allocated" if obj.status.HasField("allocation") else "pending"]
        states += ["reserved"] if obj.status.reserved_for else []
        return [obj.metadata.name, ",".join(states), age(obj, now)]


class ResourceClaimTemplateStrategy(Strategy):
    columns = columns("Name", "Age")
    returns_deleted = True

    def default(self, obj: devices.ResourceClaimTemplate) -> None:
        _default_claim(obj.spec.spec)

    def validate(self, obj: devices.ResourceClaimTemplate) -> list[Cause]:
        return _claim(obj.spec.spec.devices, SPEC.child("spec", "devices"))

    def validate_update(self, new: devices.ResourceClaimTemplate, old: devices.ResourceClaimTemplate) -> list[Cause]:
        return check_immutable(SPEC, new.spec, old.spec, CUT)

    def cells(self, obj: devices.ResourceClaimTemplate, now: datetime) -> list[object]:
        return [obj.metadata.name, age(obj, now)]


def _given(new: devices.ResourceClaim, old: devices.ResourceClaim) -> list[Cause]:
    path, status = STATUS.child("allocation"), new.status
    if not status.HasField("allocation"):
        return []
    if old.status.HasField("allocation"):
        return check_immutable(path, status.allocation, old.status.allocation, CUT)
    if is_deleting(new):
        return [forbidden(path, "must not be set when `deletionTimestamp` is set")]
    here, count = path.child("devices", "results"), len(status.allocation.devices.results)
    if count > MOST_DEVICES:
        return [too_many(here, count, MOST_DEVICES)]
    causes = validate_allocated(status.allocation.devices, new.spec.devices, path)
    if status.allocation.HasField("node_selector"):
        causes += validate_node_selector(status.allocation.node_selector, path.child("nodeSelector"))
    return causes


def _consumers(new: devices.ResourceClaim, old: devices.ResourceClaim) -> list[Cause]:
    path, status = STATUS.child("reservedFor"), new.status
    if len(status.reserved_for) > MOST_CONSUMERS:
        return [too_many(path, len(status.reserved_for), MOST_CONSUMERS)]
    causes: list[Cause] = []
    known, before = set[str](), {consumer.uid for consumer in old.status.reserved_for}
    for index, consumer in enumerate(status.reserved_for):
        here = path.index(index)
        causes += [required(here.child(name)) for name in ("resource", "name", "uid") if not getattr(consumer, name)]
        if consumer.uid in known:
            causes.append(duplicate(here, consumer.uid))
        known.add(consumer.uid)
    if known and not status.HasField("allocation"):
        causes.append(forbidden(path, "may not be specified when `allocated` is not set"))
    if known - before and is_deleting(new):
        causes.append(forbidden(path, "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"))
    return causes


def _default_claim(spec: devices.ResourceClaimSpec) -> None:
    for request in spec.devices.requests:
        wanted = ([request.exactly] if request.HasField("exactly") else []) + list(request.first_available)
        for one in wanted:
            one.allocation_mode = one.allocation_mode or EXACT_COUNT
            if one.allocation_mode == EXACT_COUNT:
                one.count = one.count or 1


def _claim(claim: devices.DeviceClaim, path: Path) -> list[Cause]:
    here = path.child("requests")
    if len(claim.requests) > MAX_REQUESTS:
        return [too_many(here, len(claim.requests), MAX_REQUESTS)]
    causes: list[Cause] = []
    names: set[str] = set()
    for index, request in enumerate(claim.requests):
        causes += _distinct(request.name, names, here.index(index)) + _request(request, here.index(index))
    return causes + validate_claim_parts(claim, path)


def _request(request: devices.DeviceRequest, path: Path) -> list[Cause]:
    causes = check_named(path.child("name"), request.name, dns1123_label)
    exactly = request.HasField("exactly")
    if exactly and request.first_available:
        return [*causes, invalid(path, None, "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set")]
    if not exactly and not request.first_available:
        return [*causes, required(path, "exactly one of `exactly` or `firstAvailable` is required")]
    if exactly:
        return causes + _wanted(request.exactly, path.child("exactly"))
    here = path.child("firstAvailable")
    if len(request.first_available) > MAX_ALTERNATIVES:
        return [*causes, too_many(here, len(request.first_available), MAX_ALTERNATIVES)]
    known: set[str] = set()
    for index, one in enumerate(request.first_available):
        place = here.index(index)
        causes += _distinct(one.name, known, place) + check_named(place.child("name"), one.name, dns1123_label) + _wanted(one, place)
    return causes


def _distinct(name: str, names: set[str], path: Path) -> list[Cause]:
    """About the whole that has a name which another has already."""
    causes = [duplicate(path, name)] if name and name in names else []
    names.add(name)
    return causes


def _wanted(wanted: Any, path: Path) -> list[Cause]:
    here = path.child("deviceClassName")
    causes = check_named(here, wanted.device_class_name, dns1123_subdomain)
    causes += _selectors(wanted.selectors, path.child("selectors"))
    mode, count = path.child("allocationMode"), path.child("count")
    if wanted.allocation_mode not in MODES:
        causes.append(not_supported(mode, wanted.allocation_mode, MODES))
    elif wanted.allocation_mode == "All" and wanted.count:
        causes.append(invalid(count, wanted.count, "must not be specified when allocationMode is 'All'"))
    elif wanted.allocation_mode == EXACT_COUNT and wanted.count <= 0:
        causes.append(invalid(count, wanted.count, "must be greater than zero"))
    return causes + validate_device_tolerations(wanted.tolerations, path.child("tolerations"))


def _selectors(selectors: Sequence[devices.DeviceSelector], path: Path) -> list[Cause]:
    return check_each(path, selectors, MAX_SELECTORS, _selector)


def _selector(selector: devices.DeviceSelector, path: Path) -> list[Cause]:
    here = path.child("cel")
    if not selector.HasField("cel"):
        return [required(here)]
    if len(selector.cel.expression.encode()) > MAX_EXPRESSION:
        return [too_long(here.child("expression"), MAX_EXPRESSION)]
    return _expression(selector.cel.expression, here.child("expression"))


def _expression(source: str, path: Path) -> list[Cause]:
    # A cluster whose claims select nothing does without.
    from knarr.machinery.cel.devices import COST_LIMIT, compiled
    from knarr.machinery.cel.errors import InvalidExpression

    if not source:
        return [required(path)]
    try:
        program = compiled(source)
    except InvalidExpression as error:
        return [invalid(path, source, error.message)]
    return [forbidden(path, "too complex, exceeds cost limit")] if program.cost > COST_LIMIT else []


class ResourceSliceStrategy(Strategy):
    """A spec change makes a new generation. Whose devices it lists, and where, is never changed."""

    columns = columns("Name", "Node", "Driver", "Pool", "Age")
    has_generation = True
    returns_deleted = True
    selectable_field_names = ("spec.driver", "spec.nodeName")

    def stamp(self, new: devices.ResourceSlice, old: devices.ResourceSlice, now: Callable[[], datetime]) -> None:
        before = {device.name: list(device.taints) for device in old.spec.devices}
        for device in new.spec.devices:
            _stamp(device.taints, before.get(device.name, ()), now)

    def validate(self, obj: devices.ResourceSlice) -> list[Cause]:
        spec = obj.spec
        causes = check_driver_name(spec.driver, SPEC.child("driver"))
        causes += _pool(spec.pool, SPEC.child("pool"))
        causes += validate_slice_places(spec, SPEC)
        if spec.shared_counters and spec.devices:
            causes.append(invalid(SPEC, "", "only one of `sharedCounters` or `devices` is allowed"))
        here, most = SPEC.child("devices"), _most(spec.devices)
        if len(spec.devices) > most:
            return [*causes, too_many(here, len(spec.devices), most)]
        names: set[str] = set()
        for index, device in enumerate(spec.devices):
            causes += _distinct(device.name, names, here.index(index))
            causes += check_named(here.index(index).child("name"), device.name, dns1123_label)
            causes += validate_device(device, here.index(index), own_nodes=spec.per_device_node_selection)
        return causes + validate_counter_sets(spec.shared_counters, SPEC.child("sharedCounters"))

    def validate_update(self, new: devices.ResourceSlice, old: devices.ResourceSlice) -> list[Cause]:
        causes = check_immutable(SPEC.child("driver"), new.spec.driver, old.spec.driver)
        causes += check_immutable(SPEC.child("pool", "name"), new.spec.pool.name, old.spec.pool.name)
        return causes + check_immutable(SPEC.child("nodeName"), new.spec.node_name, old.spec.node_name)

    def selectable_fields(self, obj: devices.ResourceSlice) -> dict[str, str]:
        return {"spec.driver": obj.spec.driver, "spec.nodeName": obj.spec.node_name}

    def cells(self, obj: devices.ResourceSlice, now: datetime) -> list[object]:
        spec = obj.spec
        return [obj.metadata.name, spec.node_name or "<unset>", spec.driver, spec.pool.name, age(obj, now)]


def _most(listed: Sequence[devices.Device]) -> int:
    """How many one slice may list: fewer where more is said of each."""
    lists = ("ints", "bools", "strings", "versions")
    rich = any(
        device.taints or device.consumes_counters or any(getattr(fact, name) for fact in device.attributes.values() for name in lists)
        for device in listed
    )
    return MAX_RICH_DEVICES if rich else MAX_DEVICES


def _pool(pool: devices.ResourcePool, path: Path) -> list[Cause]:
    causes = validate_pool_name(pool.name, path.child("name"))
    if pool.resource_slice_count <= 0:
        causes.append(invalid(path.child("resourceSliceCount"), pool.resource_slice_count, "must be greater than zero"))
    return causes + check_not_negative(path.child("generation"), pool.generation)


def _stamp(taints: Iterable[devices.DeviceTaint], before: Iterable[devices.DeviceTaint], now: Callable[[], datetime]) -> None:
    """Since when a device has a taint: that of before has it since then."""
    known = {(taint.key, taint.value, taint.effect): taint for taint in before if taint.HasField("time_added")}
    for taint in taints:
        if taint.HasField("time_added"):
            continue
        same = known.get((taint.key, taint.value, taint.effect))
        if same is not None:
            taint.time_added.CopyFrom(same.time_added)
        else:
            taint.time_added.seconds = int(now().timestamp())


class DeviceTaintRuleStrategy(Strategy):
    """A spec change makes a new generation."""

    columns = columns("Name", "Age")
    has_generation = True

    def stamp(self, new: devices.DeviceTaintRule, old: devices.DeviceTaintRule, now: Callable[[], datetime]) -> None:
        if new.spec.HasField("taint"):
            _stamp([new.spec.taint], [old.spec.taint], now)

    def validate(self, obj: devices.DeviceTaintRule) -> list[Cause]:
        causes = validate_device_taint(obj.spec.taint, SPEC.child("taint"))
        selector, place = obj.spec.device_selector, SPEC.child("deviceSelector")
        if selector.HasField("driver"):
            causes += check_driver_name(selector.driver, place.child("driver"))
        if selector.HasField("pool"):
            causes += validate_pool_name(selector.pool, place.child("pool"))
        return causes + (check_format(place.child("device"), selector.device, dns1123_label) if selector.HasField("device") else [])

    def validate_status_update(self, new: devices.DeviceTaintRule, old: devices.DeviceTaintRule) -> list[Cause]:
        return validate_device_conditions(new.status.conditions, STATUS.child("conditions"))

    def cells(self, obj: devices.DeviceTaintRule, now: datetime) -> list[object]:
        return [obj.metadata.name, age(obj, now)]
