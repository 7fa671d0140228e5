"""The strategy of APIServices. ``services.apiserver.aggregation`` passes requests on by them, and says whether they can be."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from knarr.api.apiregistration.v1 import apiregistration_pb2 as apiregistration
from knarr.machinery.errors import Cause
from knarr.machinery.fieldsets.fields import Fields
from knarr.machinery.validation import (
    Path,
    check_choice,
    check_format,
    check_port_number,
    dns1035_label,
    dns1123_subdomain,
    invalid,
    path_segment,
    required,
)
from services.apiserver.strategies.paths import METADATA, SPEC, STATUS
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns

AVAILABLE = "Available"
SERVICE_PORT = 443
MAX_GROUP_PRIORITY, MAX_VERSION_PRIORITY = 20_000, 1_000
STATUSES = ("True", "False", "Unknown")
LOCAL = ("Local", "Local APIServices are always available")
KEPT = ("annotations", "finalizers", "labels", "owner_references")


class APIServiceStrategy(Strategy):
    columns = columns("Name", "Service", "Available", "Age")
    name_format = staticmethod(path_segment)
    allows_unconditional_update = False
    kept_by_status: ClassVar[Fields] = {
        "f:metadata": {"f:annotations": {}, "f:finalizers": {}, "f:labels": {}, "f:ownerReferences": {}},
    }

    def default(self, obj: apiregistration.APIService) -> None:
        if obj.spec.HasField("service") and not obj.spec.service.HasField("port"):
            obj.spec.service.port = SERVICE_PORT

    def prepare_for_create(self, obj: apiregistration.APIService) -> None:
        super().prepare_for_create(obj)
        if not obj.spec.HasField("service"):
            reason, message = LOCAL
            found = obj.status.conditions.add(type=AVAILABLE, status="True", reason=reason, message=message)
            found.last_transition_time.CopyFrom(obj.metadata.creation_timestamp)

    def prepare_for_status_update(self, new: apiregistration.APIService, old: apiregistration.APIService) -> None:
        super().prepare_for_status_update(new, old)
        for field in KEPT:
            new.metadata.ClearField(field)
            getattr(new.metadata, field).MergeFrom(getattr(old.metadata, field))

    def validate(self, obj: apiregistration.APIService) -> list[Cause]:
        spec = obj.spec
        name = f"{spec.version}.{spec.group}"
        causes: list[Cause] = []
        if obj.metadata.name != name and not path_segment(obj.metadata.name):
            causes.append(invalid(METADATA.child("name"), obj.metadata.name, f'must be `spec.version+"."+spec.group`: "{name}"'))
        if spec.group:
            causes += check_format(SPEC.child("group"), spec.group, dns1123_subdomain)
        elif spec.version != "v1":
            causes.append(required(SPEC.child("group"), "only v1 may have an empty group and it better be legacy kube"))
        causes += check_format(SPEC.child("version"), spec.version, dns1035_label)
        causes += _priority(SPEC.child("groupPriorityMinimum"), spec.group_priority_minimum, MAX_GROUP_PRIORITY)
        causes += _priority(SPEC.child("versionPriority"), spec.version_priority, MAX_VERSION_PRIORITY)
        return causes + (_remote(spec) if spec.HasField("service") else _local(spec))

    def validate_status_update(self, new: apiregistration.APIService, old: apiregistration.APIService) -> list[Cause]:
        path = STATUS.child("conditions")
        return [
            cause
            for position, condition in enumerate(new.status.conditions)
            for cause in check_choice(path.index(position).child("status"), condition.status, STATUSES)
        ]

    def cells(self, obj: apiregistration.APIService, now: datetime) -> list[object]:
        service = obj.spec.service
        shown = f"{service.namespace}/{service.name}" if obj.spec.HasField("service") else "Local"
        return [obj.metadata.name, shown, _available(obj), age(obj, now)]


def _priority(path: Path, value: int, limit: int) -> list[Cause]:
    return [] if 0 < value <= limit else [invalid(path, value, f"must be positive and less than {limit}")]


def _local(spec: apiregistration.APIServiceSpec) -> list[Cause]:
    causes: list[Cause] = []
    if spec.ca_bundle:
        size = f"{len(spec.ca_bundle)} bytes"
        causes.append(invalid(SPEC.child("caBundle"), size, "local APIServices may not have a caBundle"))
    if spec.insecure_skip_tls_verify:
        causes.append(invalid(SPEC.child("insecureSkipTLSVerify"), True, "local APIServices may not have insecureSkipTLSVerify"))
    return causes


def _remote(spec: apiregistration.APIServiceSpec) -> list[Cause]:
    service, path = spec.service, SPEC.child("service")
    causes = [required(path.child(field)) for field in ("namespace", "name") if not getattr(service, field)]
    for cause in check_port_number("", service.port):
        causes.append(invalid(path.child("port"), service.port, f"port is not valid: {cause.message.rpartition(': ')[2]}"))
    if spec.insecure_skip_tls_verify and spec.ca_bundle:
        causes.append(invalid(SPEC.child("insecureSkipTLSVerify"), True, "may not be true if caBundle is present"))
    return causes


def _available(obj: apiregistration.APIService) -> str:
    found = next((condition for condition in obj.status.conditions if condition.type == AVAILABLE), None)
    if found is None:
        return "Unknown"
    return f"{found.status} ({found.reason})" if found.status != "True" and found.reason else found.status
