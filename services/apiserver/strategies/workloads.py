"""What the strategies of Deployment and ReplicaSet share."""

from __future__ import annotations

from typing import Any

from knarr.machinery.errors import Cause
from knarr.machinery.selectors import label_selector
from knarr.machinery.validation import check_immutable, check_not_negative, forbidden, invalid, not_supported, required
from services.apiserver.strategies.paths import SPEC, STATUS
from services.apiserver.strategies.pod.defaults import default_pod_spec
from services.apiserver.strategies.pod.validation import validate_template
from services.apiserver.strategies.selectors import go_selector, validate_label_selector


def default_replicas(spec: Any) -> None:
    if not spec.HasField("replicas"):
        spec.replicas = 1


def default_template(spec: Any) -> None:
    """Fills in the pod template of a workload's spec."""
    default_pod_spec(spec.template.spec)


def validate_selector(spec: Any) -> list[Cause]:
    """Present, not empty, well formed."""
    path = SPEC.child("selector")
    if not spec.HasField("selector"):
        return [required(path)]
    causes = validate_label_selector(spec.selector, path)
    if not spec.selector.match_labels and not spec.selector.match_expressions:
        causes.append(invalid(path, go_selector(spec.selector), "empty selector is invalid for deployment"))
    return causes


def validate_replicated_template(spec: Any) -> list[Cause]:
    """The template of pods that are kept running: picked by the selector, always restarted."""
    path = SPEC.child("template")
    labels = spec.template.metadata.labels
    causes: list[Cause] = []
    if validate_label_selector(spec.selector, SPEC.child("selector")):
        causes.append(invalid(SPEC.child("selector"), go_selector(spec.selector), "invalid label selector"))
    elif not spec.HasField("selector") or not label_selector(spec.selector).matches(labels):
        causes.append(invalid(path.child("metadata", "labels"), dict(labels), "`selector` does not match template `labels`"))
    causes += validate_template(spec.template, path)
    pod = spec.template.spec
    if pod.restart_policy != "Always":
        causes.append(not_supported(path.child("spec", "restartPolicy"), pod.restart_policy, ("Always",)))
    if pod.HasField("active_deadline_seconds"):
        causes.append(forbidden(path.child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in ReplicaSet is not Supported"))
    return causes


def validate_selector_unchanged(new: Any, old: Any) -> list[Cause]:
    return check_immutable(SPEC.child("selector"), new.selector, old.selector, go_selector(new.selector))


def validate_counts(status: Any, *fields: str) -> list[Cause]:
    """Counts in a status are not negative."""
    names = status.DESCRIPTOR.fields_by_name
    return [cause for field in fields for cause in check_not_negative(STATUS.child(names[field].json_name), getattr(status, field))]
