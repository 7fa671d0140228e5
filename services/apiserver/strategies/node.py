"""The strategy of Nodes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from services.apiserver.strategies.pod.defaults import NOT_READY_TAINT
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import NONE, UNKNOWN, age, columns

ROLE_PREFIX = "node-role.kubernetes.io/"
ROLE_LABEL = "kubernetes.io/role"


class NodeStrategy(Strategy):
    """A node brings its status along when it registers, and starts out with the not-ready taint."""

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
        if obj.status.capacity and not obj.status.allocatable:
            for name, amount in obj.status.capacity.items():
                obj.status.allocatable[name].CopyFrom(amount)

    def prepare_for_create(self, obj: core.Node) -> None:
        if not any(taint.key == NOT_READY_TAINT and taint.effect == "NoSchedule" for taint in obj.spec.taints):
            obj.spec.taints.add(key=NOT_READY_TAINT, effect="NoSchedule")

    def selectable_fields(self, obj: core.Node) -> Mapping[str, str]:
        return {"spec.unschedulable": "true" if obj.spec.unschedulable else "false"}

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


def _status_text(node: core.Node) -> str:
    ready = next((condition for condition in node.status.conditions if condition.type == "Ready"), None)
    text = "Unknown" if ready is None else "Ready" if ready.status == "True" else "NotReady"
    return text + (",SchedulingDisabled" if node.spec.unschedulable else "")


def _roles(node: core.Node) -> list[str]:
    labels = node.metadata.labels
    roles = {key.removeprefix(ROLE_PREFIX) for key in labels if key.startswith(ROLE_PREFIX)}
    return sorted(roles | {labels[key] for key in (ROLE_LABEL,) if key in labels} - {""})


def _address(node: core.Node, type_: str) -> str:
    return next((address.address for address in node.status.addresses if address.type == type_), NONE)
