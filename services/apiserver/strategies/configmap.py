"""The strategy of ConfigMaps."""

from __future__ import annotations

from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns


class ConfigMapStrategy(Strategy):
    """No defaults."""

    columns = columns("Name", "Data", "Age")

    def cells(self, obj: core.ConfigMap, now: datetime) -> list[object]:
        return [obj.metadata.name, len(obj.data) + len(obj.binary_data), age(obj, now)]
