"""The strategy of Secrets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns

OPAQUE = "Opaque"


class SecretStrategy(Strategy):
    """``stringData`` is write-only: it is merged into ``data`` and never stored."""

    columns = columns("Name", "Type", "Data", "Age")

    selectable_field_names = ("type",)

    def default(self, obj: core.Secret) -> None:
        obj.type = obj.type or OPAQUE
        for key, text in obj.string_data.items():
            obj.data[key] = text.encode()
        obj.ClearField("string_data")

    def selectable_fields(self, obj: core.Secret) -> Mapping[str, str]:
        return {"type": obj.type}

    def cells(self, obj: core.Secret, now: datetime) -> list[object]:
        return [obj.metadata.name, obj.type, len(obj.data), age(obj, now)]
