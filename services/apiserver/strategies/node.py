"""The strategy of Nodes."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.forms import write_seconds
from knarr.machinery.validation import (
    Path,
    Structure,
    check_choice,
    check_format,
    cidr,
    duplicate,
    forbidden,
    invalid,
    label_value,
    qualified_name,
)
from knarr.objects.conditions import TRUE, condition_status
from services.apiserver.strategies.amounts import check_amount
from services.apiserver.strategies.paths import METADATA, SPEC, STATUS
from services.apiserver.strategies.pod.scheduling import EFFECTS
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import NONE, UNKNOWN, age, columns

ROLE_PREFIX = "node-role.kubernetes.io/"
ROLE_LABEL = "kubernetes.io/role"


class NodeStrategy(Strategy):
    """A node brings its status along when it registers."""

    columns = columns(
        "Name",
        "Status",
        "Roles",
        "Age",
        "Version",
        wide=("Internal-IP", "External-IP", "OS-Image", "Kernel-Version", "Container-Runtime"),
    )

    selectable_field_names = ("spec.unschedulable",)

    def default(self, obj: core.Node) -> None:
        spec = obj.spec
        if spec.pod_cidr and spec.pod_cidr not in spec.pod_cidrs[:1]:
            # Where they differ the one range holds: who writes it may not know of the list.
            spec.pod_cidrs[:] = [spec.pod_cidr]
        elif spec.pod_cidrs:
            spec.pod_cidr = spec.pod_cidrs[0]
        if obj.status.capacity and not obj.status.allocatable:
            for name, amount in obj.status.capacity.items():
                obj.status.allocatable[name].CopyFrom(amount)

    def prepare_for_create(self, obj: core.Node) -> None:
        """Its status is its own word."""

    def selectable_fields(self, obj: core.Node) -> Mapping[str, str]:
        return {"spec.unschedulable": "true" if obj.spec.unschedulable else "false"}

    def validate(self, obj: core.Node) -> list[Cause]:
        causes: list[Cause] = []
        for index, text in enumerate(obj.spec.pod_cidrs):
            causes += check_format(SPEC.child("podCIDRs").index(index), text, cidr)
        ranges = list(obj.spec.pod_cidrs)
        if not causes and len({ipaddress.ip_network(text, strict=False).version for text in ranges}) < len(ranges):
            causes.append(invalid(SPEC.child("podCIDRs"), ranges, "may specify no more than one CIDR for each IP family"))
        # Kubernetes says `metadata` of what is in the spec.
        return causes + _taints(obj.spec.taints, METADATA.child("taints")) + _amounts(obj.status)

    def validate_update(self, new: core.Node, old: core.Node) -> list[Cause]:
        causes: list[Cause] = []
        if old.spec.pod_cidrs and new.spec.pod_cidrs != old.spec.pod_cidrs:
            causes.append(forbidden(SPEC.child("podCIDRs"), 'node updates may not change podCIDR except from "" to valid'))
        if old.spec.provider_id and new.spec.provider_id != old.spec.provider_id:
            causes.append(forbidden(SPEC.child("providerID"), 'node updates may not change providerID except from "" to valid'))
        if new.spec.external_id != old.spec.external_id:
            causes.append(forbidden(SPEC.child("externalID"), "may not be updated"))
        return causes

    def validate_status_update(self, new: core.Node, old: core.Node) -> list[Cause]:
        return _amounts(new.status) + _addresses(new.status.addresses)

    def cells(self, obj: core.Node, now: datetime) -> list[object]:
        info = obj.status.node_info
        return [
            obj.metadata.name,
            _status_text(obj),
            ",".join(_roles(obj)) or NONE,
            age(obj, now),
            info.kubelet_version,
            _address(obj, "InternalIP"),
            _address(obj, "ExternalIP"),
            info.os_image or UNKNOWN,
            info.kernel_version or UNKNOWN,
            info.container_runtime_version or UNKNOWN,
        ]


def _addresses(addresses: Sequence[core.NodeAddress]) -> list[Cause]:
    """None is there twice."""
    seen, causes = set[tuple[str, str]](), list[Cause]()
    for index, entry in enumerate(addresses):
        if (entry.type, entry.address) in seen:
            value = Structure(Type=entry.type, Address=entry.address)
            causes.append(duplicate(STATUS.child("addresses").index(index), value))
        seen.add((entry.type, entry.address))
    return causes


def _status_text(node: core.Node) -> str:
    ready = condition_status(node.status, "Ready")
    text = {"": "Unknown", TRUE: "Ready"}.get(ready, "NotReady")
    return text + (",SchedulingDisabled" if node.spec.unschedulable else "")


def _roles(node: core.Node) -> list[str]:
    labels = node.metadata.labels
    roles = {key.removeprefix(ROLE_PREFIX) for key in labels if key.startswith(ROLE_PREFIX)}
    return sorted(roles | {labels[key] for key in (ROLE_LABEL,) if key in labels} - {""})


def _address(node: core.Node, type_: str) -> str:
    return next((address.address for address in node.status.addresses if address.type == type_), NONE)


def _taints(taints: Iterable[core.Taint], path: Path) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(taints):
        here = path.index(index)
        causes += check_format(here.child("key"), taint.key, qualified_name)
        if sentences := label_value(taint.value):
            causes.append(invalid(here.child("value"), taint.value, ";".join(sentences)))
        causes += check_choice(here.child("effect"), taint.effect, EFFECTS)
        if (taint.key, taint.effect) in seen:
            since = write_seconds(taint.time_added.seconds) if taint.HasField("time_added") else None
            value = Structure(Key=taint.key, Value=taint.value, Effect=taint.effect, TimeAdded=since)
            causes.append(duplicate(here, value, "taints must be unique by key and effect pair"))
        seen.add((taint.key, taint.effect))
    return causes


def _amounts(status: core.NodeStatus) -> list[Cause]:
    causes: list[Cause] = []
    for field, amounts in (("capacity", status.capacity), ("allocatable", status.allocatable)):
        for name in sorted(amounts):
            causes += check_amount(amounts[name], STATUS.child(field, name))
    return causes
