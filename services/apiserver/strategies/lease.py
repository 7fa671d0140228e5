"""The strategy of Leases."""

from __future__ import annotations

from datetime import datetime

from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.machinery.errors import Cause
from knarr.machinery.validation import check_not_negative, forbidden, invalid, not_supported, qualified_name
from services.apiserver.strategies.paths import SPEC
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns

#: The one way of choosing among candidates that Kubernetes knows itself; others carry a domain.
OLDEST = "OldestEmulationVersion"


class LeaseStrategy(Strategy):
    """No defaults."""

    creates_on_update = True
    allows_unconditional_update = False
    columns = columns("Name", "Holder", "Age")

    def validate(self, obj: coordination.Lease) -> list[Cause]:
        spec, causes = obj.spec, []
        if spec.HasField("lease_duration_seconds") and spec.lease_duration_seconds <= 0:
            causes.append(invalid(SPEC.child("leaseDurationSeconds"), spec.lease_duration_seconds, "must be greater than 0"))
        causes += check_not_negative(SPEC.child("leaseTransitions"), spec.lease_transitions)
        if spec.HasField("strategy"):
            causes += self._check_choice(spec.strategy)
        elif spec.preferred_holder:
            causes.append(forbidden(SPEC.child("preferredHolder"), "may only be specified if `strategy` is defined"))
        return causes

    @staticmethod
    def _check_choice(choice: str) -> list[Cause]:
        path = SPEC.child("strategy").child("strategy")  # Kubernetes' own doubling
        if "/" in choice:
            return [invalid(path, choice, problem) for problem in qualified_name(choice)]
        return [] if choice == OLDEST else [not_supported(path, choice, [OLDEST])]

    def cells(self, obj: coordination.Lease, now: datetime) -> list[object]:
        return [obj.metadata.name, obj.spec.holder_identity, age(obj, now)]
