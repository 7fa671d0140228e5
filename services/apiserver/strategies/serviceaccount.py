"""The strategy of ServiceAccounts."""

from __future__ import annotations

from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns


class ServiceAccountStrategy(Strategy):
    """No defaults."""

    returns_deleted = True
    columns = columns("Name", "Secrets", "Age")

    def cells(self, obj: core.ServiceAccount, now: datetime) -> list[object]:
        return [obj.metadata.name, len(obj.secrets), age(obj, now)]
