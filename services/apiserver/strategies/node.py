"""The strategy of Nodes."""

from __future__ import annotations

from collections.abc import Mapping

from knarr.api.core.v1 import core_pb2 as core
from services.apiserver.strategies.pod.defaults import NOT_READY_TAINT
from services.apiserver.strategies.strategy import Strategy


class NodeStrategy(Strategy):
    """A node brings its status along when it registers, and starts out with the not-ready taint."""

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
