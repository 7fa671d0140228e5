"""The strategy of ComponentStatuses, which are only ever read."""

from __future__ import annotations

from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import columns

WORDS = {"True": "Healthy", "False": "Unhealthy"}


class ComponentStatusStrategy(Strategy):
    columns = columns("Name", "Status", "Message", "Error")

    def cells(self, obj: core.ComponentStatus, now: datetime) -> list[object]:
        found = next((condition for condition in obj.conditions if condition.type == "Healthy"), core.ComponentCondition())
        return [obj.metadata.name, WORDS.get(found.status, "Unknown"), found.message, found.error]
