"""The strategy of ReplicaSets."""

from __future__ import annotations

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.machinery.errors import Cause
from knarr.machinery.validation import check_not_negative
from services.apiserver.strategies.paths import SPEC
from services.apiserver.strategies.replicated import ReplicatedStrategy
from services.apiserver.strategies.workloads import (
    check_not_above,
    default_replicas,
    default_template,
    validate_counts,
    validate_replicated_template,
    validate_selector,
    validate_selector_unchanged,
)


class ReplicaSetStrategy(ReplicatedStrategy):
    """A spec change makes a new generation; status writes do not."""

    def default(self, obj: apps.ReplicaSet) -> None:
        default_replicas(obj.spec)
        default_template(obj.spec)

    def validate(self, obj: apps.ReplicaSet) -> list[Cause]:
        causes = check_not_negative(SPEC.child("replicas"), obj.spec.replicas)
        causes += check_not_negative(SPEC.child("minReadySeconds"), obj.spec.min_ready_seconds)
        return causes + validate_selector(obj.spec) + validate_replicated_template(obj.spec)

    def validate_update(self, new: apps.ReplicaSet, old: apps.ReplicaSet) -> list[Cause]:
        return validate_selector_unchanged(new.spec, old.spec)

    def validate_status_update(self, new: apps.ReplicaSet, old: apps.ReplicaSet) -> list[Cause]:
        status = new.status
        causes = validate_counts(
            status,
            "replicas",
            "fully_labeled_replicas",
            "ready_replicas",
            "available_replicas",
            "terminating_replicas",
            "observed_generation",
        )
        for field in ("fully_labeled_replicas", "ready_replicas", "available_replicas"):
            causes += check_not_above(status, field, "replicas")
        causes += check_not_above(status, "available_replicas", "ready_replicas", "cannot be greater than readyReplicas")
        return causes
