"""The strategy of Deployments."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.machinery.errors import Cause
from knarr.machinery.fieldsets.fields import Fields
from knarr.machinery.validation import CUT, Path, Structure, check_not_negative, forbidden, invalid, not_supported, required
from knarr.objects import int_or_string
from knarr.objects.copies import copy_field
from knarr.objects.int_or_string import plain
from services.apiserver.strategies.int_or_percent import check_count_or_percent, check_part, number_of
from services.apiserver.strategies.paths import SPEC
from services.apiserver.strategies.pod.warnings import pod_spec_warnings
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns, template_cells
from services.apiserver.strategies.workloads import (
    NAMES_OF_PODS,
    check_not_above,
    default_replicas,
    default_template,
    validate_collisions,
    validate_counts,
    validate_replicated_template,
    validate_selector,
    validate_selector_unchanged,
)

QUARTER = "25%"
TYPES = ("Recreate", "RollingUpdate")


class DeploymentStrategy(Strategy):
    """A spec change makes a new generation; status writes do not."""

    columns = columns("Name", "Ready", "Up-to-date", "Available", "Age", wide=("Containers", "Images", "Selector"))

    has_generation = True
    named_after = NAMES_OF_PODS
    kept_by_status: ClassVar[Fields] = {"f:metadata": {"f:labels": {}}}

    def default(self, obj: apps.Deployment) -> None:
        spec = obj.spec
        default_replicas(spec)
        default_template(spec)
        spec.strategy.type = spec.strategy.type or "RollingUpdate"
        if spec.strategy.type == "RollingUpdate":
            rolling = spec.strategy.rolling_update
            for field in ("max_unavailable", "max_surge"):
                if not rolling.HasField(field):
                    getattr(rolling, field).CopyFrom(int_or_string.of(QUARTER))
        if not spec.HasField("revision_history_limit"):
            spec.revision_history_limit = 10
        if not spec.HasField("progress_deadline_seconds"):
            spec.progress_deadline_seconds = 600

    def prepare_for_status_update(self, new: apps.Deployment, old: apps.Deployment) -> None:
        """The labels stay too: those of a Deployment are the user's."""
        super().prepare_for_status_update(new, old)
        copy_field("labels", new.metadata, old.metadata)

    def validate(self, obj: apps.Deployment) -> list[Cause]:
        spec = obj.spec
        causes = check_not_negative(SPEC.child("replicas"), spec.replicas)
        causes += validate_selector(spec) + validate_replicated_template(spec)
        causes += _strategy(spec.strategy, SPEC.child("strategy"))
        causes += check_not_negative(SPEC.child("minReadySeconds"), spec.min_ready_seconds)
        causes += check_not_negative(SPEC.child("revisionHistoryLimit"), spec.revision_history_limit)
        deadline = SPEC.child("progressDeadlineSeconds")
        causes += check_not_negative(deadline, spec.progress_deadline_seconds)
        if spec.progress_deadline_seconds <= spec.min_ready_seconds:
            causes.append(invalid(deadline, spec.progress_deadline_seconds, "must be greater than minReadySeconds"))
        return causes

    def validate_update(self, new: apps.Deployment, old: apps.Deployment) -> list[Cause]:
        return validate_selector_unchanged(new.spec, old.spec)

    def validate_status_update(self, new: apps.Deployment, old: apps.Deployment) -> list[Cause]:
        parts = ("updated_replicas", "ready_replicas", "available_replicas", "unavailable_replicas", "terminating_replicas")
        causes = validate_counts(new.status, "observed_generation", "replicas", *parts, "collision_count")
        for field in ("updated_replicas", "ready_replicas", "available_replicas"):
            causes += check_not_above(new.status, field, "replicas")
        causes += check_not_above(new.status, "available_replicas", "ready_replicas", "cannot be greater than readyReplicas")
        return causes + validate_collisions(new.status, old.status)

    def warnings(self, obj: apps.Deployment) -> list[str]:
        return pod_spec_warnings(obj.spec.template.spec, SPEC.child("template", "spec"))

    def cells(self, obj: apps.Deployment, now: datetime) -> list[object]:
        status = obj.status
        ready = f"{status.ready_replicas}/{obj.spec.replicas}"
        return [obj.metadata.name, ready, status.updated_replicas, status.available_replicas, age(obj, now), *template_cells(obj.spec)]


def _strategy(strategy: apps.DeploymentStrategy, path: Path) -> list[Cause]:
    causes: list[Cause] = []
    if strategy.type not in TYPES:
        value = Structure(Type=strategy.type, RollingUpdate=CUT if strategy.HasField("rolling_update") else None)
        causes.append(not_supported(path, value, TYPES))
    rolling = path.child("rollingUpdate")
    if strategy.type == "Recreate" and strategy.HasField("rolling_update"):
        causes.append(forbidden(rolling, "may not be specified when strategy `type` is 'Recreate'"))
    if strategy.type == "RollingUpdate":
        causes += _rolling(strategy.rolling_update, rolling) if strategy.HasField("rolling_update") else [required(rolling)]
    return causes


def _rolling(rolling: apps.RollingUpdateDeployment, path: Path) -> list[Cause]:
    unavailable, surge = rolling.max_unavailable, rolling.max_surge
    here = path.child("maxUnavailable")
    causes = check_count_or_percent(unavailable, here) + check_count_or_percent(surge, path.child("maxSurge"))
    if number_of(unavailable) == 0 and number_of(surge) == 0:
        causes.append(invalid(here, plain(unavailable), "may not be 0 when `maxSurge` is 0"))
    return causes + check_part(unavailable, here)
