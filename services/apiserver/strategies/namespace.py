"""The strategy of Namespaces."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, check_format, dns1123_label, invalid, qualified_name
from services.apiserver.strategies.metadata import check_finalizer_name
from services.apiserver.strategies.paths import SPEC, STATUS
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns

NAME_LABEL = "kubernetes.io/metadata.name"
FINALIZER = "kubernetes"
FINALIZERS = SPEC.child("finalizers")


class NamespaceStrategy(Strategy):
    """A namespace keeps the ``kubernetes`` finalizer in its spec until its contents are gone."""

    returns_deleted = True
    columns = columns("Name", "Status", "Age")

    name_format = staticmethod(dns1123_label)
    selectable_field_names = ("status.phase",)

    def default(self, obj: core.Namespace) -> None:
        if obj.metadata.name:
            obj.metadata.labels[NAME_LABEL] = obj.metadata.name
        obj.status.phase = obj.status.phase or "Active"

    def prepare_for_create(self, obj: core.Namespace) -> None:
        super().prepare_for_create(obj)
        if obj.metadata.name:  # a generated name is known only now
            obj.metadata.labels[NAME_LABEL] = obj.metadata.name
        obj.status.phase = "Active"
        if FINALIZER not in obj.spec.finalizers:
            obj.spec.finalizers.append(FINALIZER)

    def validate_create(self, obj: core.Namespace) -> list[Cause]:
        # Kubernetes does not say here which of them.
        return [cause for finalizer in obj.spec.finalizers for cause in _finalizer(finalizer, FINALIZERS)]

    def prepare_for_update(self, new: core.Namespace, old: core.Namespace) -> None:
        super().prepare_for_update(new, old)
        new.spec.CopyFrom(old.spec)

    def validate_status_update(self, new: core.Namespace, old: core.Namespace) -> list[Cause]:
        phase, condition = ("Terminating", "not empty") if new.metadata.HasField("deletion_timestamp") else ("Active", "empty")
        if new.status.phase == phase:
            return []
        # The path is Kubernetes' own.
        return [invalid(STATUS.child("Phase"), new.status.phase, f"may only be '{phase}' if `deletionTimestamp` is {condition}")]

    def mark_deleted(self, obj: core.Namespace, grace_seconds: int) -> None:
        """A namespace has no grace period: it waits for its contents."""
        obj.status.phase = "Terminating"

    def has_finalizers(self, obj: core.Namespace) -> bool:
        return super().has_finalizers(obj) or bool(obj.spec.finalizers)

    def selectable_fields(self, obj: core.Namespace) -> Mapping[str, str]:
        return {"status.phase": obj.status.phase}

    def cells(self, obj: core.Namespace, now: datetime) -> list[object]:
        return [obj.metadata.name, obj.status.phase, age(obj, now)]


def validate_finalizers(obj: core.Namespace) -> list[Cause]:
    """Of a namespace that is being let go of."""
    return [cause for index, name in enumerate(obj.spec.finalizers) for cause in _finalizer(name, FINALIZERS.index(index))]


def _finalizer(name: str, path: Path) -> list[Cause]:
    return check_format(path, name, qualified_name) + check_finalizer_name(name, path)
