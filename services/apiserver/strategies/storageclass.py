"""The strategies of storage.k8s.io's classes: StorageClass and VolumeAttributesClass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    Path,
    check_choice,
    check_format,
    check_immutable,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    qualified_name,
    required,
    too_long,
)
from knarr.objects.volumes import BETA_DEFAULT_CLASS, DEFAULT_CLASS
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns

DEFAULT_ATTRIBUTES_CLASS = "volumeattributesclass.storage.kubernetes.io/is-default-class"
RECLAIM_POLICIES = ("Delete", "Retain")
BINDING_MODES = ("Immediate", "WaitForFirstConsumer")
MAX_PARAMETERS, MAX_PARAMETERS_BYTES = 512, 256 * 1024
PROVISIONER, PARAMETERS = Path("provisioner"), Path("parameters")


class StorageClassStrategy(Strategy):
    columns = columns("Name", "Provisioner", "ReclaimPolicy", "VolumeBindingMode", "AllowVolumeExpansion", "Age")
    returns_deleted = True

    def default(self, obj: storage.StorageClass) -> None:
        if not obj.HasField("reclaim_policy"):
            obj.reclaim_policy = "Delete"
        if not obj.HasField("volume_binding_mode"):
            obj.volume_binding_mode = "Immediate"

    def validate(self, obj: storage.StorageClass) -> list[Cause]:
        causes = _driver(obj.provisioner, PROVISIONER)
        causes += validate_parameters(obj.parameters)
        causes += check_choice(Path("reclaimPolicy"), obj.reclaim_policy, RECLAIM_POLICIES, optional=True)
        if obj.volume_binding_mode not in BINDING_MODES:
            causes.append(not_supported(Path("volumeBindingMode"), obj.volume_binding_mode, BINDING_MODES))
        return causes + _topologies(obj.allowed_topologies, Path("allowedTopologies"))

    def validate_update(self, new: storage.StorageClass, old: storage.StorageClass) -> list[Cause]:
        return [
            *check_immutable(PARAMETERS, dict(new.parameters), dict(old.parameters)),
            *check_immutable(PROVISIONER, new.provisioner, old.provisioner),
            *check_immutable(Path("reclaimPolicy"), new.reclaim_policy, old.reclaim_policy),
            *check_immutable(Path("volumeBindingMode"), new.volume_binding_mode, old.volume_binding_mode),
        ]

    def cells(self, obj: storage.StorageClass, now: datetime) -> list[object]:
        return [
            class_name(obj, DEFAULT_CLASS, BETA_DEFAULT_CLASS),
            obj.provisioner,
            obj.reclaim_policy or "Delete",
            obj.volume_binding_mode or "<unset>",
            obj.allow_volume_expansion,
            age(obj, now),
        ]


class VolumeAttributesClassStrategy(Strategy):
    """What it says is never changed: another class is made instead."""

    columns = columns("Name", "DriverName", "Age")
    returns_deleted = True

    def validate(self, obj: storage.VolumeAttributesClass) -> list[Cause]:
        causes = _driver(obj.driver_name, Path("driverName"))
        if not obj.parameters:
            return [*causes, required(PARAMETERS, "must contain at least one key/value pair")]
        return causes + validate_parameters(obj.parameters)

    def validate_update(self, new: storage.VolumeAttributesClass, old: storage.VolumeAttributesClass) -> list[Cause]:
        causes = [] if new.driver_name == old.driver_name else [forbidden(Path("driverName"), "updates to driverName are forbidden.")]
        return causes if new.parameters == old.parameters else [*causes, forbidden(PARAMETERS, "updates to parameters are forbidden.")]

    def cells(self, obj: storage.VolumeAttributesClass, now: datetime) -> list[object]:
        return [class_name(obj, DEFAULT_ATTRIBUTES_CLASS), obj.driver_name, age(obj, now)]


def _driver(name: str, path: Path) -> list[Cause]:
    """Judged in small letters, shown as it is."""
    return check_format(path, name, lambda text: qualified_name(text.lower())) if name else [required(path)]


def class_name(obj: storage.StorageClass | storage.VolumeAttributesClass, *annotations: str) -> str:
    """The name, and whether it is the one for those who name none."""
    default = any(obj.metadata.annotations.get(annotation) == "true" for annotation in annotations)
    return f"{obj.metadata.name} (default)" if default else str(obj.metadata.name)


def validate_parameters(parameters: Mapping[str, str]) -> list[Cause]:
    if len(parameters) > MAX_PARAMETERS:
        return [too_long(PARAMETERS, MAX_PARAMETERS)]
    causes = [invalid(PARAMETERS, key, "field can not be empty.") for key in parameters if not key]
    size = sum(len(key.encode()) + len(value.encode()) for key, value in parameters.items())
    return [*causes, too_long(PARAMETERS, MAX_PARAMETERS_BYTES)] if size > MAX_PARAMETERS_BYTES else causes


def _topologies(terms: Iterable[core.TopologySelectorTerm], path: Path) -> list[Cause]:
    causes: list[Cause] = []
    # The values of each key, in whatever order, are what a term says; one that says nothing counts as said before, as in Kubernetes.
    seen: set[frozenset[tuple[str, frozenset[str]]]] = {frozenset()}
    for index, term in enumerate(terms):
        here = path.index(index).child("matchLabelExpressions")
        keys: set[str] = set()
        for position, rule in enumerate(term.match_label_expressions):
            place = here.index(position)
            causes += check_format(place.child("key"), rule.key, qualified_name)
            if rule.key in keys:
                causes.append(duplicate(place.child("key"), rule.key))
            keys.add(rule.key)
            values = place.child("values")
            if not rule.values:
                causes.append(required(values))
            known: set[str] = set()
            for number, value in enumerate(rule.values):
                if value in known:
                    causes.append(duplicate(values.index(number), value))
                known.add(value)
        same = frozenset({rule.key: frozenset(rule.values) for rule in term.match_label_expressions}.items())
        if same in seen:
            causes.append(duplicate(here, ""))
        seen.add(same)
    return causes
