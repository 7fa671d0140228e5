"""The strategy of ConfigMaps."""

from __future__ import annotations

from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import NO_FIELD, Path, check_format, config_key, invalid, too_long
from services.apiserver.strategies.frozen import DATA_LIMIT_BYTES, validate_frozen
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns


class ConfigMapStrategy(Strategy):
    """No defaults."""

    columns = columns("Name", "Data", "Age")

    def validate(self, obj: core.ConfigMap) -> list[Cause]:
        causes: list[Cause] = []
        for field, entries in (("data", obj.data), ("binaryData", obj.binary_data)):
            other = obj.binary_data if field == "data" else {}
            for key in sorted(entries):
                here = Path(field).key(key)
                causes += check_format(here, key, config_key)
                if key in other:
                    causes.append(invalid(here, key, "duplicate of key present in binaryData"))
        if obj.ByteSize() <= DATA_LIMIT_BYTES:
            return causes
        size = sum(len(text.encode()) for text in obj.data.values()) + sum(map(len, obj.binary_data.values()))
        return [*causes, too_long(NO_FIELD, DATA_LIMIT_BYTES)] if size > DATA_LIMIT_BYTES else causes

    def validate_update(self, new: core.ConfigMap, old: core.ConfigMap) -> list[Cause]:
        return validate_frozen(new, old, ("data", "binary_data"))

    def cells(self, obj: core.ConfigMap, now: datetime) -> list[object]:
        return [obj.metadata.name, len(obj.data) + len(obj.binary_data), age(obj, now)]
