"""The strategy of ReplicaSets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from knarr.api.apps.v1 import apps_pb2 as apps
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns, template_cells
from services.apiserver.strategies.workloads import default_replicas, default_template


class ReplicaSetStrategy(Strategy):
    """A spec change makes a new generation; status writes do not."""

    columns = columns(
        "Name",
        "Desired",
        "Current",
        "Ready",
        "Age",
        wide=("Containers", "Images", "Selector"),
        integers=("Desired", "Current", "Ready"),
    )

    has_generation = True
    selectable_field_names = ("status.replicas",)

    def default(self, obj: apps.ReplicaSet) -> None:
        default_replicas(obj.spec)
        default_template(obj.spec)

    def selectable_fields(self, obj: apps.ReplicaSet) -> Mapping[str, str]:
        return {"status.replicas": str(obj.status.replicas)}

    def cells(self, obj: apps.ReplicaSet, now: datetime) -> list[object]:
        status = obj.status
        return [obj.metadata.name, obj.spec.replicas, status.replicas, status.ready_replicas, age(obj, now), *template_cells(obj.spec)]
