"""Events: stored as core/v1 has them, served in ``events.k8s.io/v1`` under other names. Nothing is lost either way."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.events.v1 import events_pb2 as events
from knarr.machinery.conversions.fields import copied
from knarr.machinery.resources import Conversion

# Each field's name in core/v1 and in events.k8s.io/v1.
NAMES = {
    "metadata": "metadata",
    "event_time": "event_time",
    "series": "series",
    "reporting_component": "reporting_controller",
    "reporting_instance": "reporting_instance",
    "action": "action",
    "reason": "reason",
    "involved_object": "regarding",
    "related": "related",
    "message": "note",
    "type": "type",
    "source": "deprecated_source",
    "first_timestamp": "deprecated_first_timestamp",
    "last_timestamp": "deprecated_last_timestamp",
    "count": "deprecated_count",
}
BACK = {other: name for name, other in NAMES.items()}


def from_core(event: core.Event) -> events.Event:
    found: events.Event = copied(event, events.Event(), NAMES)
    return found


def to_core(event: events.Event) -> core.Event:
    found: core.Event = copied(event, core.Event(), BACK)
    return found


EVENTS_V1 = Conversion(to_core, from_core)
