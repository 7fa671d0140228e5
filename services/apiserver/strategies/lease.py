"""The strategy of Leases."""

from __future__ import annotations

from datetime import datetime

from knarr.api.coordination.v1 import coordination_pb2 as coordination
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns


class LeaseStrategy(Strategy):
    """No defaults."""

    columns = columns("Name", "Holder", "Age")

    def cells(self, obj: coordination.Lease, now: datetime) -> list[object]:
        return [obj.metadata.name, obj.spec.holder_identity, age(obj, now)]
