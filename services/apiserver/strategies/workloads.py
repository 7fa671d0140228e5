"""What the strategies of workloads share: replicas, selectors, templates, counts in a status."""

from __future__ import annotations

from typing import Any

from knarr.machinery.errors import Cause
from knarr.machinery.selectors import label_selector
from knarr.machinery.validation import check_immutable, check_not_negative, forbidden, invalid, not_supported, required
from services.apiserver.strategies.paths import SPEC, STATUS
from services.apiserver.strategies.pod.defaults import default_pod_spec
from services.apiserver.strategies.pod.validation import validate_template
from services.apiserver.strategies.selectors import selector_shown, validate_label_selector

# What is called after workloads.
NAMES_OF_PODS = "Pod names and hostnames"


def default_replicas(spec: Any) -> None:
    if not spec.HasField("replicas"):
        spec.replicas = 1


def default_template(spec: Any) -> None:
    """Fills in the pod template of a workload's spec."""
    default_pod_spec(spec.template.spec)


def validate_selector(spec: Any, kind: str = "deployment") -> list[Cause]:
    """Present, not empty, well formed. ``kind`` is the word for the workload in Kubernetes' sentence."""
    path = SPEC.child("selector")
    if not spec.HasField("selector"):
        return [required(path)]
    causes = validate_label_selector(spec.selector, path)
    if not spec.selector.match_labels and not spec.selector.match_expressions:
        causes.append(invalid(path, selector_shown(spec.selector), f"empty selector is invalid for {kind}"))
    return causes


def selects(spec: Any) -> bool | None:
    """Whether the selector picks the pods of the template; None when it is malformed."""
    if validate_label_selector(spec.selector, SPEC.child("selector")):
        return None
    return spec.HasField("selector") and label_selector(spec.selector).matches(spec.template.metadata.labels)


def validate_replicated_template(spec: Any) -> list[Cause]:
    """The template of pods that are kept running: picked by the selector, always restarted. Without a good selector it is not read."""
    path = SPEC.child("template")
    found = selects(spec)
    if found is None:
        return [invalid(SPEC.child("selector"), selector_shown(spec.selector), "invalid label selector")]
    causes = [] if found else [not_selected(spec)]
    return causes + validate_template(spec.template, path) + validate_kept_running(spec, "ReplicaSet")


def not_selected(spec: Any) -> Cause:
    labels = dict(spec.template.metadata.labels)
    return invalid(SPEC.child("template", "metadata", "labels"), labels, "`selector` does not match template `labels`")


def validate_kept_running(spec: Any, kind: str) -> list[Cause]:
    """Pods that are made anew whenever they end have no end of their own."""
    path, pod = SPEC.child("template", "spec"), spec.template.spec
    causes: list[Cause] = []
    if pod.restart_policy != "Always":
        causes.append(not_supported(path.child("restartPolicy"), pod.restart_policy, ("Always",)))
    if pod.HasField("active_deadline_seconds"):
        causes.append(forbidden(path.child("activeDeadlineSeconds"), f"activeDeadlineSeconds in {kind} is not Supported"))
    return causes


def validate_selector_unchanged(new: Any, old: Any) -> list[Cause]:
    return check_immutable(SPEC.child("selector"), new.selector, old.selector, selector_shown(new.selector))


def validate_counts(status: Any, *fields: str) -> list[Cause]:
    """Counts in a status are not negative."""
    names = status.DESCRIPTOR.fields_by_name
    return [cause for field in fields for cause in check_not_negative(STATUS.child(names[field].json_name), getattr(status, field))]


def validate_collisions(new: Any, old: Any) -> list[Cause]:
    """``collisionCount`` in a status only grows."""
    if new.collision_count >= old.collision_count:
        return []
    return [invalid(STATUS.child("collisionCount"), new.collision_count, "cannot be decremented")]


def check_not_above(status: Any, field: str, other: str, words: str = "") -> list[Cause]:
    """One count of a status is part of another."""
    if getattr(status, field) <= getattr(status, other):
        return []
    names = status.DESCRIPTOR.fields_by_name
    sentence = words or f"cannot be greater than status.{names[other].json_name}"
    return [invalid(STATUS.child(names[field].json_name), getattr(status, field), sentence)]
