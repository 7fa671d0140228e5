"""The columns of custom resources: a name, and what their definition says, found by JSONPath."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from knarr.api.apiextensions.v1 import apiextensions_pb2 as apiextensions
from knarr.machinery.custom.jsonpath import JsonPath, text_of
from knarr.machinery.forms import read_time
from services.apiserver.strategies.duration import human_duration
from services.apiserver.strategies.strategy import Column

AGE = apiextensions.CustomResourceColumnDefinition(
    name="Age",
    type="date",
    json_path=".metadata.creationTimestamp",
    description="CreationTimestamp is when the server made the object, in UTC; it is set once and never changes.",
)


@dataclass(frozen=True, slots=True)
class CustomColumn:
    column: Column
    path: JsonPath

    def cell(self, whole: dict[str, Any], now: datetime) -> object:
        """None for what is not there, or is of another type than the column."""
        value = next(iter(self.path.find(whole)), None)
        if self.column.type == "string":
            return text_of(value) if value is not None else None
        return _cell(self.column.type, value, now)


def columns_of(described: apiextensions.CustomResourceDefinitionVersion) -> tuple[CustomColumn, ...]:
    """Those of a version; where it says none, the age. As in Kubernetes, they end before the first whose path nobody understands."""
    name = CustomColumn(
        Column("Name", format="name", description="The name of the object, unique within its namespace."), JsonPath(".metadata.name")
    )
    found = [name]
    for column in described.additional_printer_columns or [AGE]:
        try:
            found.append(_column(column))
        except ValueError:
            break
    return tuple(found)


def _column(found: apiextensions.CustomResourceColumnDefinition) -> CustomColumn:
    description = found.description or f"Custom resource definition column (in JSONPath format): {found.json_path}"
    return CustomColumn(Column(found.name, found.type, found.format, found.priority, description), JsonPath(found.json_path))


def _cell(sort: str, value: Any, now: datetime) -> object:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if sort == "integer":
        return int(value) if number else None
    if sort == "number":
        return float(value) if number else None
    if sort == "boolean":
        return value if isinstance(value, bool) else None
    if sort == "date" and isinstance(value, str):
        try:
            return human_duration(now.timestamp() - read_time(value)["seconds"])
        except (ValueError, KeyError):
            return "<invalid>"
    return None
