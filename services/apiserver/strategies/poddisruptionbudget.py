"""The strategy of PodDisruptionBudgets."""

from __future__ import annotations

from datetime import datetime

from knarr.api.policy.v1 import policy_pb2 as policy
from knarr.machinery.errors import Cause
from knarr.machinery.validation import CUT, check_given_choice, invalid, path_segment
from knarr.objects.int_or_string import plain
from services.apiserver.strategies.conditions import validate_conditions
from services.apiserver.strategies.int_or_percent import check_count_or_percent, check_part
from services.apiserver.strategies.paths import SPEC, STATUS
from services.apiserver.strategies.selectors import validate_label_selector
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns
from services.apiserver.strategies.workloads import validate_counts

NOT_APPLICABLE = "N/A"
UNHEALTHY = ("AlwaysAllow", "IfHealthyBudget")
BOUNDS = (("min_available", "minAvailable"), ("max_unavailable", "maxUnavailable"))


class PodDisruptionBudgetStrategy(Strategy):
    """A spec change makes a new generation."""

    columns = columns("Name", "Min Available", "Max Unavailable", "Allowed Disruptions", "Age", integers=("Allowed Disruptions",))

    has_generation = True
    allows_unconditional_update = False
    name_format = staticmethod(path_segment)

    def validate(self, obj: policy.PodDisruptionBudget) -> list[Cause]:
        spec = obj.spec
        causes: list[Cause] = []
        if spec.HasField("min_available") and spec.HasField("max_unavailable"):
            causes.append(invalid(SPEC, CUT, "minAvailable and maxUnavailable cannot be both set"))
        for field, name in BOUNDS:
            if spec.HasField(field):
                found = getattr(spec, field)
                causes += check_count_or_percent(found, SPEC.child(name)) + check_part(found, SPEC.child(name))
        causes += validate_label_selector(spec.selector, SPEC.child("selector"))
        return causes + check_given_choice(SPEC.child("unhealthyPodEvictionPolicy"), spec, "unhealthy_pod_eviction_policy", UNHEALTHY)

    def validate_status_update(self, new: policy.PodDisruptionBudget, old: policy.PodDisruptionBudget) -> list[Cause]:
        causes = validate_conditions(new.status.conditions, STATUS.child("conditions"))
        return causes + validate_counts(new.status, "disruptions_allowed", "current_healthy", "desired_healthy", "expected_pods")

    def cells(self, obj: policy.PodDisruptionBudget, now: datetime) -> list[object]:
        bounds = [str(plain(getattr(obj.spec, field))) if obj.spec.HasField(field) else NOT_APPLICABLE for field, _ in BOUNDS]
        return [obj.metadata.name, *bounds, obj.status.disruptions_allowed, age(obj, now)]
