"""What ReplicaSets and ReplicationControllers show of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from services.apiserver.strategies.paths import SPEC
from services.apiserver.strategies.pod.warnings import pod_spec_warnings
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns, template_cells
from services.apiserver.strategies.workloads import NAMES_OF_PODS


class ReplicatedStrategy(Strategy):
    """A number of pods made from one template. A spec change makes a new generation; status writes do not."""

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
    named_after = NAMES_OF_PODS
    selectable_field_names = ("status.replicas",)

    def selectable_fields(self, obj: Any) -> Mapping[str, str]:
        return {"status.replicas": str(obj.status.replicas)}

    def warnings(self, obj: Any) -> list[str]:
        return pod_spec_warnings(obj.spec.template.spec, SPEC.child("template", "spec"))

    def cells(self, obj: Any, now: datetime) -> list[object]:
        status = obj.status
        return [obj.metadata.name, obj.spec.replicas, status.replicas, status.ready_replicas, age(obj, now), *template_cells(obj.spec)]
