"""The strategy of Events."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from services.apiserver.strategies.duration import since
from services.apiserver.strategies.strategy import Column, Strategy


class EventStrategy(Strategy):
    """Selectable by the object it is about."""

    columns = (
        Column("Last Seen"),
        Column("Type"),
        Column("Reason"),
        Column("Object"),
        Column("Subobject", priority=1),
        Column("Source", priority=1),
        Column("Message"),
        Column("First Seen", priority=1),
        Column("Count", priority=1),
        Column("Name", format="name", priority=1),
    )

    selectable_field_names = (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    )

    def selectable_fields(self, obj: core.Event) -> Mapping[str, str]:
        about = obj.involved_object
        return {
            "involvedObject.kind": about.kind,
            "involvedObject.namespace": about.namespace,
            "involvedObject.name": about.name,
            "involvedObject.uid": about.uid,
            "involvedObject.apiVersion": about.api_version,
            "involvedObject.resourceVersion": about.resource_version,
            "involvedObject.fieldPath": about.field_path,
            "reason": obj.reason,
            "reportingComponent": obj.reporting_component,
            "source": obj.source.component or obj.reporting_component,
            "type": obj.type,
        }

    def cells(self, obj: core.Event, now: datetime) -> list[object]:
        about = obj.involved_object
        first = obj.first_timestamp if obj.HasField("first_timestamp") else obj.event_time
        last, count = obj.last_timestamp if obj.HasField("last_timestamp") else obj.event_time, obj.count
        if obj.HasField("series"):
            last, count = obj.series.last_observed_time, obj.series.count
        return [
            since(last, now),
            obj.type,
            obj.reason,
            f"{about.kind.lower()}/{about.name}" if about.name else about.kind.lower(),
            about.field_path,
            _source_text(obj),
            obj.message.strip(),
            since(first, now),
            max(count, 1),
            obj.metadata.name,
        ]


def _source_text(event: core.Event) -> str:
    parts = (event.source.component or event.reporting_component, event.source.host or event.reporting_instance)
    return ", ".join(part for part in parts if part)
