"""HorizontalPodAutoscalers: stored as ``autoscaling/v2`` has them; what v1 has no field for stands in annotations, as in Kubernetes.

v1 knows the target of one metric, the CPU's average utilization. All other metrics, the behavior, the conditions and what is known of
metrics are JSON in annotations there, metrics and conditions in v1's own types. Through v1 and back only the order of metrics may change:
the one with a field of its own comes last. An annotation that cannot be read says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from google.protobuf.message import Message

from knarr.api.autoscaling.v1 import autoscaling_pb2 as v1
from knarr.api.autoscaling.v2 import autoscaling_pb2 as v2
from knarr.machinery import codec
from knarr.machinery.conversions.fields import copied
from knarr.machinery.errors import StatusError
from knarr.machinery.resources import Conversion

PREFIX = "autoscaling.alpha.kubernetes.io/"
METRICS, STATUSES = PREFIX + "metrics", PREFIX + "current-metrics"
CONDITIONS, BEHAVIOR = PREFIX + "conditions", PREFIX + "behavior"
ANNOTATIONS = (METRICS, STATUSES, CONDITIONS, BEHAVIOR)
RESOURCE, CPU = "Resource", "cpu"
UTILIZATION, VALUE, AVERAGE_VALUE = "Utilization", "Value", "AverageValue"
SPEC, STATUS = ("min_replicas", "max_replicas"), ("observed_generation", "last_scale_time", "current_replicas", "desired_replicas")
CONDITION = ("type", "status", "last_transition_time", "reason", "message", "observed_generation")

M = TypeVar("M", bound=Message)


def to_v1(stored: v2.HorizontalPodAutoscaler) -> v1.HorizontalPodAutoscaler:
    found = v1.HorizontalPodAutoscaler()
    copied(stored, found, ("metadata",))
    annotations = found.metadata.annotations
    _drop(annotations)
    others = list(stored.spec.metrics)
    if stored.HasField("spec"):
        copied(stored.spec, found.spec, SPEC)
        _reference(stored.spec, "scale_target_ref", found.spec, "scale_target_ref")
        cpu = next((metric for metric in others if _is_cpu(metric) and metric.resource.target.HasField("average_utilization")), None)
        if cpu is not None and _is_plain(cpu):
            found.spec.target_cpu_utilization_percentage = cpu.resource.target.average_utilization
            others.remove(cpu)
    if stored.HasField("status"):
        copied(stored.status, found.status, STATUS)
        for metric in stored.status.current_metrics:
            if _is_cpu(metric) and metric.resource.current.HasField("average_utilization"):
                found.status.current_cpu_utilization_percentage = metric.resource.current.average_utilization
    _put(annotations, METRICS, [codec.to_dict(_metric_to_v1(metric)) for metric in others])
    _put(annotations, STATUSES, [codec.to_dict(_status_to_v1(metric)) for metric in stored.status.current_metrics])
    conditions = stored.status.conditions
    _put(annotations, CONDITIONS, [codec.to_dict(copied(found, v1.HorizontalPodAutoscalerCondition(), CONDITION)) for found in conditions])
    if stored.spec.HasField("behavior"):
        annotations[BEHAVIOR] = orjson.dumps(_behavior_to_json(stored.spec.behavior)).decode()
    return found


def from_v1(given: v1.HorizontalPodAutoscaler) -> v2.HorizontalPodAutoscaler:
    found = v2.HorizontalPodAutoscaler()
    copied(given, found, ("metadata",))
    annotations = dict(given.metadata.annotations)
    _drop(found.metadata.annotations)
    if given.HasField("spec"):
        copied(given.spec, found.spec, SPEC)
        _reference(given.spec, "scale_target_ref", found.spec, "scale_target_ref")
    found.spec.metrics.extend(map(_metric_to_v2, _read(annotations, METRICS, v1.MetricSpec)))
    if given.spec.HasField("target_cpu_utilization_percentage"):
        cpu = found.spec.metrics.add(type=RESOURCE)
        cpu.resource.name, cpu.resource.target.type = CPU, UTILIZATION
        cpu.resource.target.average_utilization = given.spec.target_cpu_utilization_percentage
    behavior = _behavior_from_json(annotations.get(BEHAVIOR, ""))
    if behavior is not None:
        found.spec.behavior.CopyFrom(behavior)
    if given.HasField("status"):
        copied(given.status, found.status, STATUS)
    statuses = _read(annotations, STATUSES, v1.MetricStatus)
    if statuses:  # they say more than the one number
        found.status.current_metrics.extend(map(_status_to_v2, statuses))
    elif given.status.HasField("current_cpu_utilization_percentage"):
        current = found.status.current_metrics.add(type=RESOURCE)
        current.resource.name, current.resource.current.average_utilization = CPU, given.status.current_cpu_utilization_percentage
    for condition in _read(annotations, CONDITIONS, v1.HorizontalPodAutoscalerCondition):
        copied(condition, found.status.conditions.add(), CONDITION)
    return found


AUTOSCALING_V1 = Conversion(from_v1, to_v1)


def _is_cpu(metric: Any) -> bool:
    return bool(metric.type == RESOURCE and metric.HasField("resource") and metric.resource.name == CPU)


def _is_plain(metric: v2.MetricSpec) -> bool:
    """Whether the percentage says all of it."""
    plain = v2.MetricSpec(type=RESOURCE)
    plain.resource.name, plain.resource.target.type = CPU, UTILIZATION
    plain.resource.target.average_utilization = metric.resource.target.average_utilization
    return plain == metric


def _drop(annotations: Any) -> None:
    for name in ANNOTATIONS:
        annotations.pop(name, None)


def _put(annotations: Any, name: str, values: list[Any]) -> None:
    if values:
        annotations[name] = orjson.dumps(values).decode()


def _read(annotations: dict[str, str], name: str, message: type[M]) -> list[M]:
    try:
        found = orjson.loads(annotations.get(name, "[]"))
        if not isinstance(found, list) or not all(isinstance(value, dict) for value in found):
            return []
        return [codec.from_json(message, value).message for value in found]
    except (orjson.JSONDecodeError, StatusError):
        return []


def _reference(source: Any, name: str, target: Any, other: str) -> None:
    if source.HasField(name):
        getattr(target, other).SetInParent()
        copied(getattr(source, name), getattr(target, other), ("kind", "name", "api_version"))


@dataclass(frozen=True, slots=True)
class _Parts:
    """How v1, where a metric is flat, calls the parts of one source; empty for what the source has not."""

    metric: str = ""
    selector: str = ""
    value: str = ""
    average: str = ""
    utilization: str = ""
    other: str = ""


_SPECS = {
    "object": _Parts(metric="metric_name", selector="selector", value="target_value", average="average_value", other="target"),
    "pods": _Parts(metric="metric_name", selector="selector", average="target_average_value"),
    "resource": _Parts(average="target_average_value", utilization="target_average_utilization"),
    "container_resource": _Parts(average="target_average_value", utilization="target_average_utilization"),
    "external": _Parts(metric="metric_name", selector="metric_selector", value="target_value", average="target_average_value"),
}
_STATUSES = {
    "object": _Parts(metric="metric_name", selector="selector", value="current_value", average="average_value", other="target"),
    "pods": _Parts(metric="metric_name", selector="selector", average="current_average_value"),
    "resource": _Parts(average="current_average_value", utilization="current_average_utilization"),
    "container_resource": _Parts(average="current_average_value", utilization="current_average_utilization"),
    "external": _Parts(metric="metric_name", selector="metric_selector", value="current_value", average="current_average_value"),
}


def _metric_to_v1(metric: v2.MetricSpec) -> v1.MetricSpec:
    return _flat(metric, v1.MetricSpec(type=metric.type), _SPECS, "target")


def _status_to_v1(metric: v2.MetricStatus) -> v1.MetricStatus:
    return _flat(metric, v1.MetricStatus(type=metric.type), _STATUSES, "current")


def _metric_to_v2(metric: v1.MetricSpec) -> v2.MetricSpec:
    found = _nested(metric, v2.MetricSpec(type=metric.type), _SPECS, "target")
    for name in _SPECS:
        if found.HasField(name):
            target = getattr(found, name).target
            target.type = (
                UTILIZATION if target.HasField("average_utilization") else AVERAGE_VALUE if target.HasField("average_value") else VALUE
            )
    return found


def _status_to_v2(metric: v1.MetricStatus) -> v2.MetricStatus:
    return _nested(metric, v2.MetricStatus(type=metric.type), _STATUSES, "current")


def _pairs(parts: _Parts) -> Iterable[tuple[str, str]]:
    """Names of the numbers: in v1, and in v2 below ``target`` or ``current``."""
    found = ((parts.value, "value"), (parts.average, "average_value"), (parts.utilization, "average_utilization"))
    return [(flat, nested) for flat, nested in found if flat]


def _sources(metric: Any, found: Any, table: dict[str, _Parts]) -> Iterator[tuple[Any, Any, _Parts]]:
    """The sources that a metric names, each with its counterpart in ``found``, which has what both call the same."""
    for name, parts in table.items():
        if not metric.HasField(name):
            continue
        source, target = getattr(metric, name), getattr(found, name)
        target.SetInParent()
        copied(source, target, [field for field in ("name", "container") if field in source.DESCRIPTOR.fields_by_name])
        yield source, target, parts


def _flat(metric: Any, found: M, table: dict[str, _Parts], inner: str) -> M:
    for source, target, parts in _sources(metric, found, table):
        for flat, nested in _pairs(parts):
            copied(getattr(source, inner), target, {nested: flat})
        if parts.metric:
            copied(source.metric, target, {"name": parts.metric, "selector": parts.selector})
        if parts.other:
            _reference(source, "described_object", target, parts.other)
    return found


def _nested(metric: Any, found: M, table: dict[str, _Parts], inner: str) -> M:
    for source, target, parts in _sources(metric, found, table):
        given = {flat: nested for flat, nested in _pairs(parts) if source.HasField(flat)}
        for flat, nested in given.items():
            # Some of v1's numbers are always written: beside another one, zero means that there is none.
            if len(given) == 1 or nested == "average_utilization" or getattr(source, flat).string not in ("", "0"):
                copied(source, getattr(target, inner), {flat: nested})
        if parts.metric:
            copied(source, target.metric, {parts.metric: "name", parts.selector: "selector"})
        if parts.other:
            _reference(source, parts.other, target, "described_object")
    return found


# The behavior's annotation is the only one in the form of Kubernetes' internal types: Go's own names, read whatever their case.


def _behavior_to_json(behavior: v2.HorizontalPodAutoscalerBehavior) -> dict[str, Any]:
    def rules(name: str) -> dict[str, Any] | None:
        if not behavior.HasField(name):
            return None
        found = getattr(behavior, name)
        window = found.stabilization_window_seconds if found.HasField("stabilization_window_seconds") else None
        policies = [{"Type": policy.type, "Value": policy.value, "PeriodSeconds": policy.period_seconds} for policy in found.policies]
        return {
            "StabilizationWindowSeconds": window,
            "SelectPolicy": found.select_policy if found.HasField("select_policy") else None,
            "Policies": policies or None,
            "Tolerance": found.tolerance.string if found.HasField("tolerance") else None,
        }

    return {"ScaleUp": rules("scale_up"), "ScaleDown": rules("scale_down")}


def _behavior_from_json(text: str) -> v2.HorizontalPodAutoscalerBehavior | None:
    """None for text that is none, or names no rule."""
    try:
        value = _lowered(orjson.loads(text)) if text else {}
        found = codec.from_json(v2.HorizontalPodAutoscalerBehavior, value).message if isinstance(value, dict) else None
    except (orjson.JSONDecodeError, StatusError):
        return None
    return found if found is not None and (found.HasField("scale_up") or found.HasField("scale_down")) else None


_JSON_NAMES = {
    name.lower(): name
    for name in (
        "scaleUp", "scaleDown", "stabilizationWindowSeconds", "selectPolicy", "policies", "tolerance", "type", "value", "periodSeconds",
    )
}  # fmt: skip


def _lowered(value: Any) -> Any:
    """The names as JSON has them in v2."""
    if isinstance(value, list):
        return [_lowered(item) for item in value]
    return {_JSON_NAMES.get(name.lower(), name): _lowered(item) for name, item in value.items()} if isinstance(value, dict) else value
