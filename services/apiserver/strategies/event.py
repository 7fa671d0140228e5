"""The strategy of Events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.events.v1 import events_pb2 as events
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    CUT,
    Format,
    Path,
    check_format,
    check_immutable,
    dns1123_subdomain,
    invalid,
    path_segment,
    qualified_name,
    required,
)
from services.apiserver.strategies.duration import since
from services.apiserver.strategies.strategy import Column, Strategy

CLUSTER_EVENTS = ("default", "kube-system", "")  # where events about objects without a namespace live
LONGEST = 128
LONGEST_MESSAGE = 1024
EVENT_TYPES = ("Normal", "Warning")
# The field selectors of events.k8s.io, by their names in core/v1.
NEW_NAMES = {
    **{
        f"involvedObject.{part}": f"regarding.{part}"
        for part in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
    },
    "reason": "reason",
    "reportingComponent": "reportingController",
    "type": "type",
}
# What no update through events.k8s.io may change, by the names that errors give it.
UNCHANGING = {
    "involved_object": "involvedObject",
    "reason": "reason",
    "message": "message",
    "source": "source",
    "first_timestamp": "firstTimestamp",
    "last_timestamp": "lastTimestamp",
    "count": "count",
    "type": "type",
    "event_time": "eventTime",
    "action": "action",
    "related": "related",
    "reporting_component": "reportingController",
    "reporting_instance": "reportingInstance",
}


def event_strategies(ttl_seconds: int) -> dict[type[Message], Strategy]:
    """The strategies of Events in both their groups; they are kept so long after their last write, by whichever group it came."""
    return {core.Event: EventStrategy(ttl_seconds), events.Event: NewEventStrategy(ttl_seconds)}


class EventStrategy(Strategy):
    """Selectable by the object it is about; kept for ``ttl_seconds``."""

    def __init__(self, ttl_seconds: int = 3600) -> None:
        self.ttl_seconds = ttl_seconds

    creates_on_update = True
    name_format: Format = staticmethod(path_segment)
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

    selectable_field_names: Sequence[str] = (
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

    # What the field that names the reporter is called.
    reporter = "reportingComponent"

    def validate(self, obj: core.Event) -> list[Cause]:
        causes: list[Cause] = []
        about, home = obj.involved_object, obj.metadata.namespace
        allowed = (about.namespace,) if about.namespace else CLUSTER_EVENTS
        if home not in allowed and not (about.namespace and _has_time(obj)):
            causes.append(invalid(Path("involvedObject.namespace"), about.namespace, "does not match event.namespace"))
        return causes + (_new_style(obj, self.reporter) if _has_time(obj) else [])

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


class NewEventStrategy(EventStrategy):
    """Events as ``events.k8s.io`` has them: stricter about what is created, and only the series changes afterwards."""

    reporter = "reportingController"
    name_format = staticmethod(dns1123_subdomain)
    selectable_field_names = tuple(NEW_NAMES.values())

    def selectable_fields(self, obj: core.Event) -> Mapping[str, str]:
        found = super().selectable_fields(obj)
        return {new: found[name] for name, new in NEW_NAMES.items()}

    def validate_create(self, obj: core.Event) -> list[Cause]:
        causes = _series(obj)
        if not _has_time(obj):
            causes.append(required(Path("eventTime")))
        if obj.type not in EVENT_TYPES:
            causes.append(invalid(Path("type"), "", f"has invalid value: {obj.type}"))
        for name, given in (
            ("firstTimestamp", obj.first_timestamp.seconds),
            ("lastTimestamp", obj.last_timestamp.seconds),
            ("count", obj.count),
            ("source", obj.source.component or obj.source.host),
        ):
            if given:
                causes.append(invalid(Path(name), "", "needs to be unset"))
        return causes

    def validate_update(self, new: core.Event, old: core.Event) -> list[Cause]:
        causes = _series(new) if new.series != old.series else []
        for field, name in UNCHANGING.items():
            value = getattr(new, field)
            shown = CUT if isinstance(value, Message) else value
            causes += check_immutable(Path(name), value, getattr(old, field), shown)
        return causes


def _has_time(event: core.Event) -> bool:
    return event.HasField("event_time") and bool(event.event_time.seconds)


def _series(event: core.Event) -> list[Cause]:
    causes: list[Cause] = []
    if event.HasField("series"):
        if event.series.count < 2:
            causes.append(invalid(Path("series.count"), "", "should be at least 2"))
        if not event.series.last_observed_time.seconds:
            causes.append(required(Path("series.lastObservedTime")))
    return causes


def _source_text(event: core.Event) -> str:
    parts = (event.source.component or event.reporting_component, event.source.host or event.reporting_instance)
    return ", ".join(part for part in parts if part)


def _new_style(event: core.Event, reporter: str) -> list[Cause]:
    """Events that carry an eventTime say who reports which action and why."""
    causes: list[Cause] = []
    if not event.reporting_component:
        causes.append(required(Path(reporter)))
    causes += check_format(Path(reporter), event.reporting_component, qualified_name)
    for value, name in (
        (event.reporting_instance, "reportingInstance"),
        (event.action, "action"),
        (event.reason, "reason"),
    ):
        if not value:
            causes.append(required(Path(name)))
        elif len(value) > LONGEST:
            causes.append(invalid(Path(name), "", f"can have at most {LONGEST} characters"))
    if len(event.message) > LONGEST_MESSAGE:
        causes.append(invalid(Path("message"), "", f"can have at most {LONGEST_MESSAGE} characters"))
    return causes
