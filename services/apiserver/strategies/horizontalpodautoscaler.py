"""The strategy of HorizontalPodAutoscalers, in terms of ``autoscaling/v2``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from knarr.api.autoscaling.v2 import autoscaling_pb2 as autoscaling
from knarr.machinery import quantity
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    Path,
    check_format,
    check_not_negative,
    dns1123_label,
    forbidden,
    invalid,
    not_supported,
    path_segment,
    required,
)
from services.apiserver.strategies.amounts import check_amount
from services.apiserver.strategies.empty_lists import take_mark
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import NONE, UNKNOWN, age, columns

DEFAULT_CPU_UTILIZATION = 80
LONGEST_WINDOW_SECONDS, LONGEST_PERIOD_SECONDS = 3600, 1800
# By a metric's type: the field that describes it.
SOURCES = {
    "ContainerResource": "container_resource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}
FIELDS = {"container_resource": "containerResource"}
TARGET_TYPES = ("Utilization", "Value", "AverageValue")
SELECT_POLICIES = ("Disabled", "Max", "Min")
POLICY_TYPES = ("Percent", "Pods")
SHOWN_METRICS = 2


class HorizontalPodAutoscalerStrategy(Strategy):
    columns = columns("Name", "Reference", "Targets", "MinPods", "MaxPods", "Replicas", "Age")

    def default(self, obj: autoscaling.HorizontalPodAutoscaler) -> None:
        spec = obj.spec
        if not spec.HasField("min_replicas"):
            spec.min_replicas = 1
        if not spec.metrics:
            cpu = spec.metrics.add(type="Resource").resource
            cpu.name, cpu.target.type, cpu.target.average_utilization = "cpu", "Utilization", DEFAULT_CPU_UTILIZATION
        if spec.HasField("behavior"):
            _default_rules(spec.behavior.scale_up, (("Pods", 4), ("Percent", 100)), window_seconds=0)
            _default_rules(spec.behavior.scale_down, (("Percent", 100),), window_seconds=None)

    def validate(self, obj: autoscaling.HorizontalPodAutoscaler) -> list[Cause]:
        spec, path = obj.spec, Path("spec")
        causes: list[Cause] = []
        if spec.HasField("min_replicas") and spec.min_replicas < 0:
            causes.append(invalid(path.child("minReplicas"), spec.min_replicas, "must be greater than or equal to 0"))
        if spec.max_replicas < 1:
            causes.append(invalid(path.child("maxReplicas"), spec.max_replicas, "must be greater than 0"))
        if spec.HasField("min_replicas") and spec.max_replicas < spec.min_replicas:
            causes.append(invalid(path.child("maxReplicas"), spec.max_replicas, "must be greater than or equal to `minReplicas`"))
        causes += _reference(spec.scale_target_ref, path.child("scaleTargetRef"))
        for position, metric in enumerate(spec.metrics):
            causes += _metric(metric, path.child("metrics").index(position))
        if (
            spec.HasField("min_replicas")
            and spec.min_replicas == 0
            and not {metric.type for metric in spec.metrics} & {"Object", "External"}
        ):
            words = "must specify at least one Object or External metric to support scaling to zero replicas"
            causes.append(forbidden(path.child("metrics"), words))
        for name, field in (("scale_up", "scaleUp"), ("scale_down", "scaleDown")):
            if spec.behavior.HasField(name):
                causes += _rules(getattr(spec.behavior, name), path.child("behavior", field))
        return causes

    def validate_create(self, obj: autoscaling.HorizontalPodAutoscaler) -> list[Cause]:
        """An older one may name no group."""
        return _api_version(obj.spec.scale_target_ref, Path("spec").child("scaleTargetRef"))

    def validate_update(self, new: autoscaling.HorizontalPodAutoscaler, old: autoscaling.HorizontalPodAutoscaler) -> list[Cause]:
        target, was = new.spec.scale_target_ref, old.spec.scale_target_ref
        same = (target.api_version, target.kind) == (was.api_version, was.kind)
        return [] if same else _api_version(target, Path("spec").child("scaleTargetRef"))

    def validate_status_update(self, new: autoscaling.HorizontalPodAutoscaler, old: autoscaling.HorizontalPodAutoscaler) -> list[Cause]:
        path = Path("status")
        return [
            *check_not_negative(path.child("currentReplicas"), new.status.current_replicas),
            *check_not_negative(path.child("desiredReplicas"), new.status.desired_replicas),
        ]

    def cells(self, obj: autoscaling.HorizontalPodAutoscaler, now: datetime) -> list[object]:
        spec, target = obj.spec, obj.spec.scale_target_ref
        return [
            obj.metadata.name,
            f"{target.kind}/{target.name}",
            _targets(obj),
            str(spec.min_replicas) if spec.HasField("min_replicas") else "<unset>",
            spec.max_replicas,
            obj.status.current_replicas,
            age(obj, now),
        ]


def _default_rules(rules: autoscaling.HPAScalingRules, policies: tuple[tuple[str, int], ...], window_seconds: int | None) -> None:
    rules.SetInParent()
    if window_seconds is not None and not rules.HasField("stabilization_window_seconds"):
        rules.stabilization_window_seconds = window_seconds
    if not rules.HasField("select_policy"):
        rules.select_policy = "Max"
    if not take_mark(rules.policies) and not rules.policies:
        for kind, value in policies:
            rules.policies.add(type=kind, value=value, period_seconds=15)


def _reference(reference: autoscaling.CrossVersionObjectReference, path: Path) -> list[Cause]:
    causes: list[Cause] = []
    for name in ("kind", "name"):
        value, where = getattr(reference, name), path.child(name)
        causes += [invalid(where, value, problem) for problem in path_segment(value)] if value else [required(where)]
    return causes


def _api_version(reference: autoscaling.CrossVersionObjectReference, path: Path) -> list[Cause]:
    """Of what can be scaled only a ReplicationController is of no group."""
    text, here = reference.api_version, path.child("apiVersion")
    if text.count("/") > 1:
        return [invalid(here, text, f"unexpected GroupVersion string: {text}")]
    if text.rpartition("/")[0] or reference.kind == "ReplicationController":
        return []
    return [invalid(here, text, "apiVersion must specify API group")]


def _metric(metric: autoscaling.MetricSpec, path: Path) -> list[Cause]:
    causes: list[Cause] = []
    if not metric.type:
        causes.append(required(path.child("type"), "must specify a metric source type"))
    if metric.type not in SOURCES:
        causes.append(not_supported(path.child("type"), metric.type, sorted(SOURCES)))
    present = [name for name in CHECKS if metric.HasField(name)]
    if present:
        causes += CHECKS[present[0]](getattr(metric, present[0]), path.child(FIELDS.get(present[0], present[0])))
    expected = SOURCES.get(metric.type, "")
    if expected and expected not in present:
        causes.append(required(path.child(FIELDS.get(expected, expected)), "must populate information for the given metric source"))
    if len(present) != 1:
        others = [name for name in present if name != expected]
        causes += [forbidden(path.child(FIELDS.get(name, name)), "must populate the given metric source only") for name in others]
    return causes


def _object(source: autoscaling.ObjectMetricSource, path: Path) -> list[Cause]:
    causes = [
        *_reference(source.described_object, path.child("describedObject")),
        *_identifier(source.metric, path),
        *_target(source, path),
    ]
    if not (source.target.HasField("value") or source.target.HasField("average_value")):
        causes.append(required(path.child("target", "averageValue"), "must set either a target value or averageValue"))
    return causes


def _external(source: autoscaling.ExternalMetricSource, path: Path) -> list[Cause]:
    causes = [*_identifier(source.metric, path), *_target(source, path)]
    value, average = source.target.HasField("value"), source.target.HasField("average_value")
    if not value and not average:
        causes.append(required(path.child("target", "averageValue"), "must set either a target value for metric or a per-pod target"))
    if value and average:
        causes.append(forbidden(path.child("target", "value"), "may not set both a target value for metric and a per-pod target"))
    return causes


def _pods(source: autoscaling.PodsMetricSource, path: Path) -> list[Cause]:
    causes = [*_identifier(source.metric, path), *_target(source, path)]
    if not source.target.HasField("average_value") or not _is_positive(source.target.average_value.string):
        causes.append(required(path.child("target", "averageValue"), "must specify a positive target averageValue"))
    return causes


def _resource(source: Any, path: Path) -> list[Cause]:
    causes = [] if source.name else [required(path.child("name"), "must specify a resource name")]
    causes += _target(source, path)
    utilization, average = source.target.HasField("average_utilization"), source.target.HasField("average_value")
    if not utilization and not average:
        detail = "must set either a target raw value or a target utilization"
        causes.append(required(path.child("target", "averageUtilization"), detail))
    if utilization and average:
        causes.append(forbidden(path.child("target", "averageValue"), "may not set both a target raw value and a target utilization"))
    return causes


def _container_resource(source: autoscaling.ContainerResourceMetricSource, path: Path) -> list[Cause]:
    here, name = path.child("container"), source.container
    causes = check_format(here, name, dns1123_label) if name else [required(here, "must specify a container")]
    return causes + _resource(source, path)


CHECKS: dict[str, Callable[[Any, Path], list[Cause]]] = {
    "object": _object,
    "external": _external,
    "pods": _pods,
    "resource": _resource,
    "container_resource": _container_resource,
}


def _identifier(metric: autoscaling.MetricIdentifier, path: Path) -> list[Cause]:
    where = path.child("metric", "name")
    if not metric.name:
        return [required(where, "must specify a metric name")]
    return [invalid(where, metric.name, problem) for problem in path_segment(metric.name)]


def _target(source: Any, path: Path) -> list[Cause]:
    target, path = source.target, path.child("target")
    causes: list[Cause] = []
    if not target.type:
        causes.append(required(path.child("type"), "must specify a metric target type"))
    if target.type not in TARGET_TYPES:
        causes.append(invalid(path.child("type"), target.type, "must be either Utilization, Value, or AverageValue"))
    if target.HasField("average_utilization") and target.average_utilization < 1:
        causes.append(invalid(path.child("averageUtilization"), target.average_utilization, "must be greater than 0"))
    for name, field in (("value", "value"), ("average_value", "averageValue")):
        if target.HasField(name) and not _is_positive(getattr(target, name).string):
            causes.append(invalid(path.child(field), getattr(target, name).string, "must be positive"))
    return causes


def _is_positive(text: str) -> bool:
    try:
        return quantity.parse(text) > 0
    except ValueError:
        return False


def _rules(rules: autoscaling.HPAScalingRules, path: Path) -> list[Cause]:
    causes: list[Cause] = []
    window, where = rules.stabilization_window_seconds, path.child("stabilizationWindowSeconds")
    if window < 0:
        causes.append(invalid(where, window, "must be greater than or equal to zero"))
    if window > LONGEST_WINDOW_SECONDS:
        causes.append(invalid(where, window, f"must be less than or equal to {LONGEST_WINDOW_SECONDS}"))
    if rules.HasField("tolerance"):
        causes += check_amount(rules.tolerance, path.child("tolerance"))
    if rules.HasField("select_policy") and rules.select_policy not in SELECT_POLICIES:
        causes.append(not_supported(path.child("selectPolicy"), rules.select_policy, SELECT_POLICIES))
    if not rules.policies:
        causes.append(required(path.child("policies"), "must specify at least one Policy"))
    for position, policy in enumerate(rules.policies):
        here = path.child("policies").index(position)
        if policy.type not in POLICY_TYPES:
            causes.append(not_supported(here.child("type"), policy.type, POLICY_TYPES))
        for name, value in (("value", policy.value), ("periodSeconds", policy.period_seconds)):
            if value <= 0:
                causes.append(invalid(here.child(name), value, "must be greater than zero"))
        if policy.period_seconds > LONGEST_PERIOD_SECONDS:
            detail = f"must be less than or equal to {LONGEST_PERIOD_SECONDS}"
            causes.append(invalid(here.child("periodSeconds"), policy.period_seconds, detail))
    return causes


def _targets(obj: autoscaling.HorizontalPodAutoscaler) -> str:
    """``cpu: 10%/80%, 3/5 (avg) + 1 more...``"""
    found = [
        _shown(metric, obj.status.current_metrics[position] if position < len(obj.status.current_metrics) else autoscaling.MetricStatus())
        for position, metric in enumerate(obj.spec.metrics)
    ]
    if not found:
        return NONE
    more = f" + {len(found) - SHOWN_METRICS} more..." if len(found) > SHOWN_METRICS else ""
    return ", ".join(found[:SHOWN_METRICS]) + more


def _shown(metric: autoscaling.MetricSpec, status: autoscaling.MetricStatus) -> str:
    name = SOURCES.get(metric.type, "")
    if not name:
        return "<unknown type>"
    source, current = getattr(metric, name), getattr(status, name).current
    target, prefix = source.target, f"{source.name}: " if "resource" in name else ""
    if target.HasField("average_value"):
        shown = current.average_value.string or UNKNOWN
        return f"{prefix}{shown}/{target.average_value.string}" + (" (avg)" if name in ("object", "external") else "")
    if prefix:
        shown = f"{current.average_utilization}%" if current.HasField("average_utilization") else UNKNOWN
        return f"{prefix}{shown}/" + (f"{target.average_utilization}%" if target.HasField("average_utilization") else "<auto>")
    return f"{current.value.string or UNKNOWN}/{target.value.string}"
