"""The strategy of the pod templates that stand alone."""

from __future__ import annotations

from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path
from services.apiserver.strategies.pod.defaults import default_pod_spec
from services.apiserver.strategies.pod.validation import validate_template
from services.apiserver.strategies.pod.warnings import pod_spec_warnings
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import columns, labels_text

TEMPLATE = Path("template")


class PodTemplateStrategy(Strategy):
    columns = columns("Name", "Containers", "Images", "Pod Labels")
    has_generation = True
    returns_deleted = True

    def default(self, obj: core.PodTemplate) -> None:
        default_pod_spec(obj.template.spec)

    def validate(self, obj: core.PodTemplate) -> list[Cause]:
        return validate_template(obj.template, TEMPLATE)

    def warnings(self, obj: core.PodTemplate) -> list[str]:
        return pod_spec_warnings(obj.template.spec, TEMPLATE.child("spec"))

    def cells(self, obj: core.PodTemplate, now: datetime) -> list[object]:
        containers = obj.template.spec.containers
        names, images = ",".join(item.name for item in containers), ",".join(item.image for item in containers)
        return [obj.metadata.name, names, images, labels_text(obj.template.metadata.labels)]
