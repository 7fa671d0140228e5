"""The strategy of pods."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.fieldsets.fields import Fields
from knarr.machinery.validation import forbidden
from knarr.objects.conditions import FALSE
from knarr.objects.keys import is_deleting
from knarr.objects.pods import is_finished
from knarr.objects.qos import qos_class
from services.apiserver.strategies.paths import SPEC
from services.apiserver.strategies.pod.annotations import validate_annotation_changes, validate_pod_annotations
from services.apiserver.strategies.pod.defaults import default_pod
from services.apiserver.strategies.pod.labelkeys import merge_label_keys
from services.apiserver.strategies.pod.said_of_containers import validate_said_of_containers
from services.apiserver.strategies.pod.status import validate_said
from services.apiserver.strategies.pod.table import COLUMNS, pod_cells
from services.apiserver.strategies.pod.update import validate_pod_status_update, validate_pod_update
from services.apiserver.strategies.pod.validation import validate_pod_spec
from services.apiserver.strategies.pod.warnings import pod_spec_warnings
from services.apiserver.strategies.strategy import Strategy

GATED = "Scheduling is blocked due to non-empty scheduling gates"


class PodStrategy(Strategy):
    """A new pod is Pending; once bound, its kubelet owns the status and the end of a deletion."""

    has_generation = True
    returns_deleted = True
    graceful = True
    kept_by_status: ClassVar[Fields] = {"f:metadata": {"f:deletionTimestamp": {}, "f:ownerReferences": {}}}
    named_after = "the Pod's hostname"
    columns = COLUMNS

    selectable_field_names = (
        "spec.nodeName",
        "spec.host",  # what clients once called spec.nodeName
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    )

    def default(self, obj: core.Pod) -> None:
        default_pod(obj)

    def prepare_for_create(self, obj: core.Pod) -> None:
        super().prepare_for_create(obj)
        merge_label_keys(obj)
        obj.status.phase = "Pending"
        obj.status.qos_class = qos_class(obj.spec)
        if obj.spec.scheduling_gates:
            obj.status.conditions.add(type="PodScheduled", status=FALSE, reason="SchedulingGated", message=GATED)

    def prepare_for_update(self, new: core.Pod, old: core.Pod) -> None:
        # A manifest that is sent again does not know what admission once added.
        for field in ("priority", "preemption_policy"):
            if not new.spec.HasField(field) and old.spec.HasField(field):
                setattr(new.spec, field, getattr(old.spec, field))
        super().prepare_for_update(new, old)

    def prepare_for_status_update(self, new: core.Pod, old: core.Pod) -> None:
        super().prepare_for_status_update(new, old)
        new.status.qos_class = old.status.qos_class or new.status.qos_class
        # A status write may not bring back a pod or remove its owners.
        new.metadata.ClearField("owner_references")
        new.metadata.owner_references.MergeFrom(old.metadata.owner_references)
        new.metadata.ClearField("deletion_timestamp")
        if is_deleting(old):
            new.metadata.deletion_timestamp.CopyFrom(old.metadata.deletion_timestamp)

    def validate(self, obj: core.Pod) -> list[Cause]:
        return validate_pod_spec(obj.spec, SPEC) + validate_pod_annotations(obj.metadata.annotations, obj.spec)

    def validate_create(self, obj: core.Pod) -> list[Cause]:
        """A template may name a node beside its gates: they are gone before a pod of it is there, or it is refused."""
        if obj.spec.node_name and obj.spec.scheduling_gates:
            return [forbidden(SPEC.child("nodeName"), "cannot be set until all schedulingGates have been cleared")]
        return []

    def validate_update(self, new: core.Pod, old: core.Pod) -> list[Cause]:
        return validate_annotation_changes(new, old) + validate_pod_update(new, old)

    def validate_status_update(self, new: core.Pod, old: core.Pod) -> list[Cause]:
        causes = validate_annotation_changes(new, old) + validate_said(new, old) + validate_pod_status_update(new, old)
        return causes + validate_said_of_containers(new)

    def warnings(self, obj: core.Pod) -> list[str]:
        return pod_spec_warnings(obj.spec, SPEC)

    def selectable_fields(self, obj: core.Pod) -> Mapping[str, str]:
        spec, status = obj.spec, obj.status
        return {
            "spec.nodeName": spec.node_name,
            "spec.host": spec.node_name,
            "spec.restartPolicy": spec.restart_policy,
            "spec.schedulerName": spec.scheduler_name,
            "spec.serviceAccountName": spec.service_account_name,
            "spec.hostNetwork": "true" if spec.host_network else "false",
            "status.phase": status.phase,
            "status.podIP": status.pod_ip,
            # Kubernetes takes the name and compares with nothing: its value there is always empty.
            "status.podIPs": ",".join(address.ip for address in status.pod_ips),
            "status.nominatedNodeName": status.nominated_node_name,
        }

    def grace_period_seconds(self, obj: core.Pod, requested: int | None) -> int:
        if not obj.spec.node_name or is_finished(obj):
            return 0
        wanted = int(obj.spec.termination_grace_period_seconds) if requested is None else requested
        return wanted if wanted >= 0 else 1

    def cells(self, obj: core.Pod, now: datetime) -> list[object]:
        return pod_cells(obj, now)
