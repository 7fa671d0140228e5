"""The strategies of ReplicationControllers, and of the pod templates that stand alone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.selectors import label_selector
from knarr.machinery.validation import Path, check_not_negative, forbidden, invalid, not_supported, required
from services.apiserver.strategies.metadata import validate_labels
from services.apiserver.strategies.paths import SPEC
from services.apiserver.strategies.pod.defaults import default_pod_spec
from services.apiserver.strategies.pod.validation import validate_template
from services.apiserver.strategies.pod.warnings import pod_spec_warnings
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns, labels_text, template_cells
from services.apiserver.strategies.workloads import check_not_above, default_replicas, default_template, validate_counts

TEMPLATE = Path("template")


class ReplicationControllerStrategy(Strategy):
    """A spec change makes a new generation; status writes do not. The selector is a map of labels, by default the template's."""

    columns = columns(
        "Name",
        "Desired",
        "Current",
        "Ready",
        "Age",
        wide=("Containers", "Images", "Selector"),
        integers=("Desired", "Current", "Ready"),
    )

    has_generation = True
    selectable_field_names = ("status.replicas",)

    def default(self, obj: core.ReplicationController) -> None:
        labels = obj.spec.template.metadata.labels
        if labels:
            if not obj.spec.selector:
                obj.spec.selector.update(labels)
            if not obj.metadata.labels:
                obj.metadata.labels.update(labels)
        default_replicas(obj.spec)
        if obj.spec.HasField("template"):
            default_template(obj.spec)

    def validate(self, obj: core.ReplicationController) -> list[Cause]:
        spec = obj.spec
        causes = check_not_negative(SPEC.child("minReadySeconds"), spec.min_ready_seconds)
        causes += validate_labels(spec.selector, SPEC.child("selector"))
        if not spec.selector:
            causes.append(required(SPEC.child("selector")))
        causes += check_not_negative(SPEC.child("replicas"), spec.replicas)
        return causes + _template(spec, SPEC.child("template"))

    def validate_status_update(self, new: core.ReplicationController, old: core.ReplicationController) -> list[Cause]:
        counts = ("fully_labeled_replicas", "ready_replicas", "available_replicas")
        causes = validate_counts(new.status, "replicas", *counts, "observed_generation")
        for field in counts:
            causes += check_not_above(new.status, field, "replicas")
        return causes + check_not_above(new.status, "available_replicas", "ready_replicas", "cannot be greater than readyReplicas")

    def selectable_fields(self, obj: core.ReplicationController) -> Mapping[str, str]:
        return {"status.replicas": str(obj.status.replicas)}

    def warnings(self, obj: core.ReplicationController) -> list[str]:
        return pod_spec_warnings(obj.spec.template.spec, SPEC.child("template", "spec"))

    def cells(self, obj: core.ReplicationController, now: datetime) -> list[object]:
        status = obj.status
        return [obj.metadata.name, obj.spec.replicas, status.replicas, status.ready_replicas, age(obj, now), *template_cells(obj.spec)]


def _template(spec: core.ReplicationControllerSpec, path: Path) -> list[Cause]:
    if not spec.HasField("template"):
        return [required(path)]
    causes: list[Cause] = []
    labels = dict(spec.template.metadata.labels)
    if spec.selector and not label_selector(spec.selector).matches(labels):
        causes.append(invalid(path.child("metadata", "labels"), labels, "`selector` does not match template `labels`"))
    causes += validate_template(spec.template, path)
    pod = spec.template.spec
    if pod.restart_policy != "Always":
        causes.append(not_supported(path.child("spec", "restartPolicy"), pod.restart_policy, ("Always",)))
    if pod.HasField("active_deadline_seconds"):
        causes.append(
            forbidden(path.child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in ReplicationController is not Supported")
        )
    return causes


class PodTemplateStrategy(Strategy):
    columns = columns("Name", "Containers", "Images", "Pod Labels")
    has_generation = True
    returns_deleted = True

    def default(self, obj: core.PodTemplate) -> None:
        default_pod_spec(obj.template.spec)

    def validate(self, obj: core.PodTemplate) -> list[Cause]:
        return validate_template(obj.template, TEMPLATE)

    def warnings(self, obj: core.PodTemplate) -> list[str]:
        return pod_spec_warnings(obj.template.spec, TEMPLATE.child("spec"))

    def cells(self, obj: core.PodTemplate, now: datetime) -> list[object]:
        containers = obj.template.spec.containers
        names, images = ",".join(item.name for item in containers), ",".join(item.image for item in containers)
        return [obj.metadata.name, names, images, labels_text(obj.template.metadata.labels)]
