"""The strategy of StatefulSets."""

from __future__ import annotations

from datetime import datetime

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    CUT,
    Path,
    Structure,
    check_format,
    check_not_negative,
    dns1123_label,
    forbidden,
    invalid,
    not_supported,
    required,
)
from knarr.objects.copies import copy_of
from knarr.objects.int_or_string import plain
from services.apiserver.strategies.int_or_percent import check_count_or_percent, check_part, number_of
from services.apiserver.strategies.metadata import validate_annotations, validate_labels
from services.apiserver.strategies.paths import SPEC
from services.apiserver.strategies.persistentvolumeclaim import default_claim
from services.apiserver.strategies.pod.annotations import validate_pod_annotations
from services.apiserver.strategies.pod.warnings import pod_spec_warnings
from services.apiserver.strategies.selectors import selector_shown
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns, template_cells
from services.apiserver.strategies.workloads import (
    check_not_above,
    default_replicas,
    default_template,
    not_selected,
    selects,
    validate_collisions,
    validate_counts,
    validate_kept_running,
    validate_selector,
)

ROLLING_UPDATE, ON_DELETE = "RollingUpdate", "OnDelete"
POLICIES = ("OrderedReady", "Parallel")
RETENTIONS = ("Delete", "Retain")
# What may change of a spec; Kubernetes' sentence names them.
MUTABLE = (
    "replicas",
    "ordinals",
    "template",
    "update_strategy",
    "revision_history_limit",
    "persistent_volume_claim_retention_policy",
    "min_ready_seconds",
)
IMMUTABLE_SPEC = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', "
    "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


class StatefulSetStrategy(Strategy):
    """A spec change makes a new generation; status writes do not."""

    columns = columns("Name", "Ready", "Age", wide=("Containers", "Images"))

    has_generation = True
    # Its pods' hostnames begin with it.
    name_format = staticmethod(dns1123_label)

    def default(self, obj: apps.StatefulSet) -> None:
        spec = obj.spec
        spec.pod_management_policy = spec.pod_management_policy or "OrderedReady"
        if not spec.update_strategy.type:
            spec.update_strategy.type = ROLLING_UPDATE
            spec.update_strategy.rolling_update.SetInParent()
        if spec.update_strategy.type == ROLLING_UPDATE and spec.update_strategy.HasField("rolling_update"):
            rolling = spec.update_strategy.rolling_update
            if not rolling.HasField("partition"):
                rolling.partition = 0
        retention = spec.persistent_volume_claim_retention_policy
        retention.when_deleted = retention.when_deleted or "Retain"
        retention.when_scaled = retention.when_scaled or "Retain"
        default_replicas(spec)
        if not spec.HasField("revision_history_limit"):
            spec.revision_history_limit = 10
        default_template(spec)
        for claim in spec.volume_claim_templates:
            default_claim(claim)

    def validate(self, obj: apps.StatefulSet) -> list[Cause]:
        spec = obj.spec
        causes = _management(spec) + _update_strategy(spec.update_strategy, SPEC.child("updateStrategy"))
        causes += _retention(spec)
        causes += check_not_negative(SPEC.child("replicas"), spec.replicas)
        causes += check_not_negative(SPEC.child("minReadySeconds"), spec.min_ready_seconds)
        causes += check_not_negative(SPEC.child("ordinals", "start"), spec.ordinals.start)
        causes += validate_selector(spec, "statefulset")
        return causes + _template(spec) + validate_kept_running(spec, "StatefulSet")

    def validate_create(self, obj: apps.StatefulSet) -> list[Cause]:
        """An older one may name a Service that there can never be."""
        name = obj.spec.service_name
        return check_format(SPEC.child("serviceName"), name, dns1123_label) if name else []

    def validate_update(self, new: apps.StatefulSet, old: apps.StatefulSet) -> list[Cause]:
        kept, was = copy_of(new.spec), copy_of(old.spec)
        for field in MUTABLE:
            kept.ClearField(field)
            was.ClearField(field)
        return [] if kept == was else [forbidden(SPEC, IMMUTABLE_SPEC)]

    def validate_status_update(self, new: apps.StatefulSet, old: apps.StatefulSet) -> list[Cause]:
        status = new.status
        counts = ("ready_replicas", "current_replicas", "updated_replicas", "available_replicas")
        causes = validate_counts(status, "replicas", *counts, "observed_generation", "collision_count")
        for field in counts:
            causes += check_not_above(status, field, "replicas")
        causes += check_not_above(status, "available_replicas", "ready_replicas")
        return causes + validate_collisions(status, old.status)

    def warnings(self, obj: apps.StatefulSet) -> list[str]:
        found = pod_spec_warnings(obj.spec.template.spec, SPEC.child("template", "spec"))
        if obj.spec.HasField("revision_history_limit") and obj.spec.revision_history_limit < 0:
            found.append(
                f"{SPEC.child('revisionHistoryLimit')}: a negative value retains all historical revisions; a value >= 0 is recommended"
            )
        return found

    def cells(self, obj: apps.StatefulSet, now: datetime) -> list[object]:
        return [obj.metadata.name, f"{obj.status.ready_replicas}/{obj.spec.replicas}", age(obj, now), *template_cells(obj.spec)[:2]]


def _management(spec: apps.StatefulSetSpec) -> list[Cause]:
    path = SPEC.child("podManagementPolicy")
    if not spec.pod_management_policy:
        return [required(path)]
    if spec.pod_management_policy in POLICIES:
        return []
    return [invalid(path, spec.pod_management_policy, "must be 'OrderedReady' or 'Parallel'")]


def _update_strategy(strategy: apps.StatefulSetUpdateStrategy, path: Path) -> list[Cause]:
    if not strategy.type:
        return [required(path)]
    if strategy.type not in (ROLLING_UPDATE, ON_DELETE):
        value = Structure(Type=strategy.type, RollingUpdate=CUT if strategy.HasField("rolling_update") else None)
        return [invalid(path, value, f"must be '{ROLLING_UPDATE}' or '{ON_DELETE}'")]
    if not strategy.HasField("rolling_update"):
        return []
    if strategy.type == ON_DELETE:
        return [invalid(path.child("rollingUpdate"), CUT, f"only allowed for updateStrategy '{ROLLING_UPDATE}'")]
    rolling, here = strategy.rolling_update, path.child("rollingUpdate", "maxUnavailable")
    causes = check_not_negative(path.child("rollingUpdate", "partition"), rolling.partition)
    if rolling.HasField("max_unavailable"):
        causes += check_count_or_percent(rolling.max_unavailable, here)
        if number_of(rolling.max_unavailable) == 0:
            causes.append(invalid(here, plain(rolling.max_unavailable), "cannot be 0"))
        causes += check_part(rolling.max_unavailable, here)
    return causes


def _retention(spec: apps.StatefulSetSpec) -> list[Cause]:
    path, policy = SPEC.child("persistentVolumeClaimRetentionPolicy"), spec.persistent_volume_claim_retention_policy
    found = (("whenDeleted", policy.when_deleted), ("whenScaled", policy.when_scaled))
    return [not_supported(path.child(name), value, RETENTIONS) for name, value in found if value not in RETENTIONS]


def _template(spec: apps.StatefulSetSpec) -> list[Cause]:
    """As in Kubernetes the pod itself is judged when it is made: its volumes come from the claims too."""
    path = SPEC.child("template")
    found = selects(spec)
    if found is None:
        return [invalid(SPEC.child("selector"), selector_shown(spec.selector), "")]
    causes = [] if found else [not_selected(spec)]
    causes += validate_labels(spec.template.metadata.labels, path.child("labels"))
    annotations, here = spec.template.metadata.annotations, path.child("annotations")
    return causes + validate_annotations(annotations, here) + validate_pod_annotations(annotations, spec.template.spec, here)
