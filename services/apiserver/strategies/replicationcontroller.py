"""The strategy of ReplicationControllers."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.selectors import label_selector
from knarr.machinery.validation import Path, check_not_negative, required
from services.apiserver.strategies.metadata import validate_labels
from services.apiserver.strategies.paths import SPEC
from services.apiserver.strategies.pod.validation import validate_template
from services.apiserver.strategies.replicated import ReplicatedStrategy
from services.apiserver.strategies.workloads import (
    check_not_above,
    default_replicas,
    default_template,
    not_selected,
    validate_counts,
    validate_kept_running,
)


class ReplicationControllerStrategy(ReplicatedStrategy):
    """A spec change makes a new generation; status writes do not. The selector is a map of labels, by default the template's."""

    # As before there was a garbage collector.
    orphans_by_default = True

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


def _template(spec: core.ReplicationControllerSpec, path: Path) -> list[Cause]:
    if not spec.HasField("template"):
        return [required(path)]
    causes: list[Cause] = []
    if spec.selector and not label_selector(spec.selector).matches(spec.template.metadata.labels):
        causes.append(not_selected(spec))
    return causes + validate_template(spec.template, path) + validate_kept_running(spec, "ReplicationController")
