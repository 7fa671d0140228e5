"""The strategy of Leases."""

from __future__ import annotations

from datetime import datetime

from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.machinery.errors import Cause
from knarr.machinery.validation import check_not_negative, invalid
from services.apiserver.strategies.paths import SPEC
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns


class LeaseStrategy(Strategy):
    """No defaults."""

    creates_on_update = True
    allows_unconditional_update = False
    columns = columns("Name", "Holder", "Age")

    def validate(self, obj: coordination.Lease) -> list[Cause]:
        spec, causes = obj.spec, []
        if spec.HasField("lease_duration_seconds") and spec.lease_duration_seconds <= 0:
            causes.append(invalid(SPEC.child("leaseDurationSeconds"), spec.lease_duration_seconds, "must be greater than 0"))
        return causes + check_not_negative(SPEC.child("leaseTransitions"), spec.lease_transitions)

    def cells(self, obj: coordination.Lease, now: datetime) -> list[object]:
        return [obj.metadata.name, obj.spec.holder_identity, age(obj, now)]
