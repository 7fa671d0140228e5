"""The strategy of Events."""

from __future__ import annotations

from collections.abc import Mapping

from knarr.api.core.v1 import core_pb2 as core
from services.apiserver.strategies.strategy import Strategy


class EventStrategy(Strategy):
    """Selectable by the object it is about."""

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
