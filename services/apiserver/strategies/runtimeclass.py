"""The strategy of RuntimeClasses."""

from __future__ import annotations

from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.node.v1 import node_pb2 as node
from knarr.machinery.errors import Cause
from knarr.machinery.validation import CUT, Path, check_format, check_immutable, dns1123_label, duplicate
from services.apiserver.strategies.metadata import validate_labels
from services.apiserver.strategies.pod.resources import validate_resources
from services.apiserver.strategies.pod.scheduling import validate_tolerations
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns

SCHEDULING = Path("scheduling")


class RuntimeClassStrategy(Strategy):
    columns = columns("Name", "Handler", "Age")
    creates_on_update = True
    allows_unconditional_update = False

    def validate(self, obj: node.RuntimeClass) -> list[Cause]:
        causes = check_format(Path("handler"), obj.handler, dns1123_label)
        if obj.HasField("overhead"):
            overhead = core.ResourceRequirements()
            overhead.limits.MergeFrom(obj.overhead.pod_fixed)
            causes += validate_resources(overhead, Path("overhead"))
        causes += validate_labels(obj.scheduling.node_selector, SCHEDULING.child("nodeSelector"))
        here = SCHEDULING.child("tolerations")
        causes += validate_tolerations(obj.scheduling.tolerations, here.child("tolerations"))
        seen: set[tuple[str, ...]] = set()
        for index, toleration in enumerate(obj.scheduling.tolerations):
            key = (toleration.key, toleration.operator, toleration.value, toleration.effect)
            if key in seen:
                causes.append(duplicate(here.index(index), CUT))
            seen.add(key)
        return causes

    def validate_update(self, new: node.RuntimeClass, old: node.RuntimeClass) -> list[Cause]:
        return check_immutable(Path("handler"), new.handler, old.handler)

    def cells(self, obj: node.RuntimeClass, now: datetime) -> list[object]:
        return [obj.metadata.name, obj.handler, age(obj, now)]
