"""The strategy of DaemonSets."""

from __future__ import annotations

from datetime import datetime

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.machinery.errors import Cause
from knarr.machinery.validation import CUT, Path, Structure, check_not_negative, invalid, not_supported, required
from knarr.objects import int_or_string
from knarr.objects.int_or_string import plain
from services.apiserver.strategies.int_or_percent import check_count_or_percent, check_part, number_of
from services.apiserver.strategies.paths import SPEC
from services.apiserver.strategies.pod.validation import validate_template
from services.apiserver.strategies.pod.warnings import pod_spec_warnings
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns, labels_text, template_cells
from services.apiserver.strategies.workloads import (
    default_template,
    not_selected,
    selects,
    validate_collisions,
    validate_counts,
    validate_kept_running,
    validate_selector,
    validate_selector_unchanged,
)

ROLLING_UPDATE, ON_DELETE = "RollingUpdate", "OnDelete"
# How often the template has changed; a field of an older version, kept for those who still read it.
TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


class DaemonSetStrategy(Strategy):
    """A spec change makes a new generation; status writes do not."""

    columns = columns(
        "Name",
        "Desired",
        "Current",
        "Ready",
        "Up-to-date",
        "Available",
        "Node Selector",
        "Age",
        wide=("Containers", "Images", "Selector"),
        integers=("Desired", "Current", "Ready", "Up-to-date", "Available"),
    )

    has_generation = True

    def default(self, obj: apps.DaemonSet) -> None:
        spec = obj.spec
        default_template(spec)
        spec.update_strategy.type = spec.update_strategy.type or ROLLING_UPDATE
        if spec.update_strategy.type == ROLLING_UPDATE:
            rolling = spec.update_strategy.rolling_update
            for field, value in (("max_unavailable", 1), ("max_surge", 0)):
                if not rolling.HasField(field):
                    getattr(rolling, field).CopyFrom(int_or_string.of(value))
        if not spec.HasField("revision_history_limit"):
            spec.revision_history_limit = 10

    def prepare_for_create(self, obj: apps.DaemonSet) -> None:
        super().prepare_for_create(obj)
        obj.metadata.annotations[TEMPLATE_GENERATION] = "1"

    def prepare_for_update(self, new: apps.DaemonSet, old: apps.DaemonSet) -> None:
        super().prepare_for_update(new, old)
        known = old.metadata.annotations.get(TEMPLATE_GENERATION, "")
        count = int(known) if known.isdecimal() and len(known) < 20 else 0
        if new.spec.template != old.spec.template:
            count += 1
        if count:
            new.metadata.annotations[TEMPLATE_GENERATION] = str(count)

    def validate(self, obj: apps.DaemonSet) -> list[Cause]:
        spec = obj.spec
        # Without a selector Kubernetes only says that it picks nothing.
        causes = validate_selector(spec, "daemonset") if spec.HasField("selector") else []
        if selects(spec) is False:
            causes.append(not_selected(spec))
        causes += validate_template(spec.template, SPEC.child("template")) + validate_kept_running(spec, "DaemonSet")
        causes += check_not_negative(SPEC.child("minReadySeconds"), spec.min_ready_seconds)
        causes += _update_strategy(spec.update_strategy, SPEC.child("updateStrategy"))
        return causes + check_not_negative(SPEC.child("revisionHistoryLimit"), spec.revision_history_limit)

    def validate_update(self, new: apps.DaemonSet, old: apps.DaemonSet) -> list[Cause]:
        return validate_selector_unchanged(new.spec, old.spec)

    def validate_status_update(self, new: apps.DaemonSet, old: apps.DaemonSet) -> list[Cause]:
        causes = validate_counts(
            new.status,
            "current_number_scheduled",
            "number_misscheduled",
            "desired_number_scheduled",
            "number_ready",
            "observed_generation",
            "updated_number_scheduled",
            "number_available",
            "number_unavailable",
            "collision_count",
        )
        return causes + validate_collisions(new.status, old.status)

    def warnings(self, obj: apps.DaemonSet) -> list[str]:
        return pod_spec_warnings(obj.spec.template.spec, SPEC.child("template", "spec"))

    def cells(self, obj: apps.DaemonSet, now: datetime) -> list[object]:
        status = obj.status
        return [
            obj.metadata.name,
            status.desired_number_scheduled,
            status.current_number_scheduled,
            status.number_ready,
            status.updated_number_scheduled,
            status.number_available,
            labels_text(obj.spec.template.spec.node_selector),
            age(obj, now),
            *template_cells(obj.spec),
        ]


def _update_strategy(strategy: apps.DaemonSetUpdateStrategy, path: Path) -> list[Cause]:
    if strategy.type == ON_DELETE:
        return []
    if strategy.type != ROLLING_UPDATE:
        return [not_supported(path, Structure(Type=strategy.type, RollingUpdate=CUT), (ROLLING_UPDATE, ON_DELETE))]
    if not strategy.HasField("rolling_update"):
        return [required(path.child("rollingUpdate"))]
    return _rolling(strategy.rolling_update, path.child("rollingUpdate"))


def _rolling(rolling: apps.RollingUpdateDaemonSet, path: Path) -> list[Cause]:
    """Either old pods end before new ones start, or new ones start before: not both."""
    unavailable, surge = rolling.max_unavailable, rolling.max_surge
    here, there = path.child("maxUnavailable"), path.child("maxSurge")
    causes = check_count_or_percent(unavailable, here) + check_count_or_percent(surge, there)
    causes += check_part(unavailable, here) + check_part(surge, there)
    if number_of(unavailable) and number_of(surge):
        causes.append(invalid(there, plain(surge), "may not be set when maxUnavailable is non-zero"))
    elif not number_of(unavailable) and not number_of(surge):
        causes.append(required(here, "cannot be 0 when maxSurge is 0"))
    return causes
