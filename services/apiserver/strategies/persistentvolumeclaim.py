"""The strategy of PersistentVolumeClaims, and the rules about their specs that claims inside other objects share."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    Path,
    Verbatim,
    check_format,
    check_given_choice,
    dns1123_subdomain,
    forbidden,
    invalid,
    not_supported,
    qualified_name,
    required,
)
from knarr.objects.amounts import exact
from knarr.objects.copies import copy_of
from knarr.objects.keys import is_deleting
from knarr.objects.volumes import CLASS_ANNOTATION, names_no_class
from services.apiserver.strategies.amounts import check_basic, check_positive
from services.apiserver.strategies.paths import SPEC, STATUS
from services.apiserver.strategies.selectors import validate_label_selector
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import UNSET, access_modes_text, age, columns
from services.apiserver.strategies.volumes import ACCESS_MODES, VOLUME_MODES, validate_access_modes

STORAGE = "storage"
# How far a volume is that grows.
RESIZES = ("ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizePending", "NodeResizeInProgress", "NodeResizeInfeasible")
SOURCES = (("data_source", "dataSource"), ("data_source_ref", "dataSourceRef"))
# The annotation that named the class before there was a field.
IMMUTABLE = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


class PersistentVolumeClaimStrategy(Strategy):
    columns = columns(
        "Name",
        "Status",
        "Volume",
        "Capacity",
        "Access Modes",
        "StorageClass",
        "VolumeAttributesClass",
        "Age",
        wide=("VolumeMode",),
    )
    returns_deleted = True

    def default(self, obj: core.PersistentVolumeClaim) -> None:
        default_claim(obj)

    def prepare_for_create(self, obj: core.PersistentVolumeClaim) -> None:
        super().prepare_for_create(obj)
        obj.status.phase = "Pending"

    def validate(self, obj: core.PersistentVolumeClaim) -> list[Cause]:
        return validate_claim_spec(obj.spec, SPEC)

    def validate_create(self, obj: core.PersistentVolumeClaim) -> list[Cause]:
        """An older one may have a source of a group that there can never be."""
        return _groups_of_sources(obj.spec, SPEC)

    def validate_update(self, new: core.PersistentVolumeClaim, old: core.PersistentVolumeClaim) -> list[Cause]:
        """A volume is named once; a claim that is bound may grow, and change its attributes class."""
        kept, was = copy_of(new.spec), copy_of(old.spec)
        if not was.volume_name:
            was.volume_name = kept.volume_name
        if names_no_class(old):
            # Where there was no default class when it was made, it may be given one later.
            was.ClearField("storage_class_name")
            kept.ClearField("storage_class_name")
        if old.status.phase == "Bound":
            for spec in (kept, was):
                spec.resources.requests.pop(STORAGE, None)
                spec.ClearField("volume_attributes_class_name")
        path = SPEC.child("resources", "requests", STORAGE)
        causes = [] if kept == was else [forbidden(SPEC, IMMUTABLE)]
        # Whose volume cannot grow as it asks may ask for less again, but for no less than it has.
        if _amount(new.spec) < _amount(old.spec) and not _amount(new.spec) > _capacity(old.status):
            causes.append(forbidden(path, "field can not be less than status.capacity"))
        return causes + _left_class(new, old)

    def validate_status_update(self, new: core.PersistentVolumeClaim, old: core.PersistentVolumeClaim) -> list[Cause]:
        status, causes = new.status, list[Cause]()
        for field, name in (("capacity", "capacity"), ("allocated_resources", "allocatedResources")):
            amounts = getattr(status, field)
            causes += [cause for key in sorted(amounts) for cause in check_basic(amounts[key], STATUS.child(name).key(key))]
        causes += [cause for key in sorted(status.allocated_resources) for cause in _growing(key, STATUS.child("allocatedResources"))]
        here = STATUS.child("allocatedResourceStatus")
        for key in sorted(status.allocated_resource_statuses):
            causes += _growing(key, here)
            if status.allocated_resource_statuses[key] not in RESIZES:
                # Kubernetes shows what it is about instead of what is wrong.
                causes.append(not_supported(here, key, RESIZES))
        return causes

    def cells(self, obj: core.PersistentVolumeClaim, now: datetime) -> list[object]:
        spec, status = obj.spec, obj.status
        bound = bool(spec.volume_name)
        capacity = (status.capacity[STORAGE].string if STORAGE in status.capacity else "0") if bound else ""
        modes = access_modes_text(status.access_modes) if bound else ""
        name = obj.metadata.annotations.get(CLASS_ANNOTATION) or spec.storage_class_name
        attributes = spec.volume_attributes_class_name if spec.HasField("volume_attributes_class_name") else UNSET
        phase = "Terminating" if is_deleting(obj) else status.phase
        mode = spec.volume_mode if spec.HasField("volume_mode") else UNSET
        return [obj.metadata.name, phase, spec.volume_name, capacity, modes, name, attributes, age(obj, now), mode]


def _left_class(new: core.PersistentVolumeClaim, old: core.PersistentVolumeClaim) -> list[Cause]:
    """A volume that has been given the attributes of a class has those of another, but never of none again."""
    if not old.status.HasField("current_volume_attributes_class_name") or new.spec.volume_attributes_class_name:
        return []
    if not old.spec.volume_attributes_class_name:
        return []
    now = "an empty string" if new.spec.HasField("volume_attributes_class_name") else "nil"
    return [forbidden(SPEC.child("volumeAttributesClassName"), f"update from non-nil value to {now} is forbidden")]


def _growing(key: str, path: Path) -> list[Cause]:
    """What of a volume may be given more of: its room, and what others than Kubernetes have named."""
    if causes := check_format(path, key, qualified_name):
        return causes
    own = "/" not in key or "kubernetes.io/" in key
    return [not_supported(path, key, (STORAGE,))] if own and key != STORAGE else []


def _amount(spec: core.PersistentVolumeClaimSpec) -> Decimal:
    """What is asked for; nothing where that is malformed, which is said elsewhere."""
    return (exact(spec.resources.requests[STORAGE]) if STORAGE in spec.resources.requests else None) or Decimal(0)


def _capacity(status: core.PersistentVolumeClaimStatus) -> Decimal:
    """What it has; more than anything where it has none."""
    return (exact(status.capacity[STORAGE]) if STORAGE in status.capacity else None) or Decimal("Infinity")


def default_claim(claim: core.PersistentVolumeClaim) -> None:
    """Also of a claim inside a StatefulSet, which shows a phase there too."""
    claim.status.phase = claim.status.phase or "Pending"
    default_claim_spec(claim.spec)


def default_claim_spec(spec: core.PersistentVolumeClaimSpec) -> None:
    """Both ways to name a source say the same, where the older one can."""
    if not spec.HasField("volume_mode"):
        spec.volume_mode = "Filesystem"
    if spec.HasField("data_source") and not spec.HasField("data_source_ref"):
        source = spec.data_source
        spec.data_source_ref.kind, spec.data_source_ref.name = source.kind, source.name
        if source.HasField("api_group"):
            spec.data_source_ref.api_group = source.api_group
    elif spec.HasField("data_source_ref") and not spec.HasField("data_source") and not spec.data_source_ref.namespace:
        reference = spec.data_source_ref
        if reference.api_group or reference.kind == "PersistentVolumeClaim":
            spec.data_source.kind, spec.data_source.name = reference.kind, reference.name
            if reference.HasField("api_group"):
                spec.data_source.api_group = reference.api_group


def validate_claim_spec(spec: core.PersistentVolumeClaimSpec, path: Path) -> list[Cause]:
    here = path.child("accessModes")
    causes = [] if spec.access_modes else [required(here, "at least 1 access mode is required")]
    if spec.HasField("selector"):
        causes += validate_label_selector(spec.selector, path.child("selector"))
    causes += [not_supported(here, mode, ACCESS_MODES) for mode in spec.access_modes if mode not in ACCESS_MODES]
    causes += validate_access_modes(spec.access_modes, here)
    storage = path.child("resources").key(STORAGE)
    if STORAGE not in spec.resources.requests:
        causes.append(required(storage))
    else:
        causes += check_positive(spec.resources.requests[STORAGE], storage)
    if spec.storage_class_name:
        causes += check_format(path.child("storageClassName"), spec.storage_class_name, dns1123_subdomain)
    causes += check_given_choice(path.child("volumeMode"), spec, "volume_mode", VOLUME_MODES)
    for field, name in SOURCES:
        if spec.HasField(field):
            causes += _source(getattr(spec, field), path.child(name))
    causes += _two_sources(spec, path)
    if spec.volume_attributes_class_name:
        causes += check_format(path.child("volumeAttributesClassName"), spec.volume_attributes_class_name, dns1123_subdomain)
    return causes


def _source(source: core.TypedObjectReference, path: Path) -> list[Cause]:
    causes = [required(path.child(name)) for name in ("name", "kind") if not getattr(source, name)]
    if not source.api_group and source.kind != "PersistentVolumeClaim":
        causes.append(invalid(path, source.kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup"))
    return causes


def _two_sources(spec: core.PersistentVolumeClaimSpec, path: Path) -> list[Cause]:
    """Whoever names a source in both ways names one, and in its own namespace: the older way knows no other."""
    if not (spec.HasField("data_source") and spec.HasField("data_source_ref")):
        return []
    older, newer, here = spec.data_source, spec.data_source_ref, Verbatim(path.child("dataSource"))
    if newer.namespace:
        return [invalid(path, here, "may not be specified when dataSourceRef.namespace is specified")]
    if (older.api_group, older.kind, older.name) != (newer.api_group, newer.kind, newer.name):
        return [invalid(path, here, "must match dataSourceRef")]
    return []


def _groups_of_sources(spec: core.PersistentVolumeClaimSpec, path: Path) -> list[Cause]:
    causes: list[Cause] = []
    for field, name in SOURCES:
        if group := getattr(spec, field).api_group:
            causes += check_format(path.child(name, "apiGroup"), group, dns1123_subdomain)
    return causes
