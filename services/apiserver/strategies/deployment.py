"""The strategy of Deployments."""

from __future__ import annotations

from datetime import datetime

from knarr.api.apps.v1 import apps_pb2 as apps
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns, template_cells
from services.apiserver.strategies.workloads import default_replicas, default_template

STRING = 1  # IntOrString.type of a string
QUARTER = "25%"


class DeploymentStrategy(Strategy):
    """A spec change makes a new generation; status writes do not."""

    columns = columns("Name", "Ready", "Up-to-date", "Available", "Age", wide=("Containers", "Images", "Selector"))

    has_generation = True

    def default(self, obj: apps.Deployment) -> None:
        spec = obj.spec
        default_replicas(spec)
        default_template(spec)
        spec.strategy.type = spec.strategy.type or "RollingUpdate"
        if spec.strategy.type == "RollingUpdate":
            rolling = spec.strategy.rolling_update
            for field in ("max_unavailable", "max_surge"):
                if not rolling.HasField(field):
                    getattr(rolling, field).type = STRING
                    getattr(rolling, field).str_val = QUARTER
        if not spec.HasField("revision_history_limit"):
            spec.revision_history_limit = 10
        if not spec.HasField("progress_deadline_seconds"):
            spec.progress_deadline_seconds = 600

    def cells(self, obj: apps.Deployment, now: datetime) -> list[object]:
        status = obj.status
        ready = f"{status.ready_replicas}/{obj.spec.replicas}"
        return [obj.metadata.name, ready, status.updated_replicas, status.available_replicas, age(obj, now), *template_cells(obj.spec)]
