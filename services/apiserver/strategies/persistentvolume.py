"""The strategy of PersistentVolumes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.schema import descriptor_of, fields_of
from knarr.machinery.validation import (
    CUT,
    IMMUTABLE,
    Path,
    check_choice,
    check_format,
    check_given_choice,
    check_immutable,
    dns1123_subdomain,
    forbidden,
    invalid,
    not_supported,
    required,
)
from knarr.objects.copies import copy_of
from knarr.objects.keys import is_deleting
from knarr.objects.volumes import CLASS_ANNOTATION
from services.apiserver.strategies.amounts import check_basic, check_positive
from services.apiserver.strategies.paths import SPEC
from services.apiserver.strategies.pod.scheduling import validate_node_selector
from services.apiserver.strategies.pod.volumes import validate_host_path, validate_nfs
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import UNSET, access_modes_text, age, columns
from services.apiserver.strategies.volumes import ACCESS_MODES, VOLUME_MODES, check_driver_name, validate_access_modes

STORAGE = "storage"
RECLAIM_POLICIES = ("Delete", "Recycle", "Retain")
# What labels of nodes were called first, and are called now.
NEWER_LABELS = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "beta.kubernetes.io/os": "kubernetes.io/os",
    "beta.kubernetes.io/arch": "kubernetes.io/arch",
    "beta.kubernetes.io/instance-type": "node.kubernetes.io/instance-type",
}
# The field of each kind of volume, by the name of its field in JSON.
SOURCES = {field.json_name: field.name for field in fields_of(descriptor_of(core.PersistentVolumeSource))}


class PersistentVolumeStrategy(Strategy):
    columns = columns(
        "Name",
        "Capacity",
        "Access Modes",
        "Reclaim Policy",
        "Status",
        "Claim",
        "StorageClass",
        "VolumeAttributesClass",
        "Reason",
        "Age",
        wide=("VolumeMode",),
    )
    returns_deleted = True
    selectable_field_names = ("name",)

    def default(self, obj: core.PersistentVolume) -> None:
        spec = obj.spec
        obj.status.phase = obj.status.phase or "Pending"
        spec.persistent_volume_reclaim_policy = spec.persistent_volume_reclaim_policy or "Retain"
        if not spec.HasField("volume_mode"):
            spec.volume_mode = "Filesystem"
        source = spec.persistent_volume_source
        if source.HasField("host_path") and not source.host_path.HasField("type"):
            source.host_path.type = ""

    def prepare_for_create(self, obj: core.PersistentVolume) -> None:
        super().prepare_for_create(obj)
        obj.status.phase = "Pending"

    def validate(self, obj: core.PersistentVolume) -> list[Cause]:
        return validate_volume_spec(obj.spec, SPEC)

    def validate_update(self, new: core.PersistentVolume, old: core.PersistentVolume) -> list[Cause]:
        """A volume stays where its bytes are; where it can be used may still be said once."""
        source, was = copy_of(new.spec.persistent_volume_source), old.spec.persistent_volume_source
        if was.HasField("csi") and not was.csi.HasField("controller_expand_secret_ref"):
            source.csi.ClearField("controller_expand_secret_ref")
        causes: list[Cause] = []
        if source != was:
            words = "spec.persistentvolumesource is immutable after creation"
            causes.append(forbidden(SPEC.child("persistentvolumesource"), words))
        causes += check_immutable(Path("volumeMode"), new.spec.volume_mode, old.spec.volume_mode)
        if old.spec.HasField("node_affinity") and new.spec.node_affinity != _with_newer_labels(
            old.spec.node_affinity, new.spec.node_affinity
        ):
            causes.append(invalid(Path("nodeAffinity"), CUT, f"{IMMUTABLE}, except for updating from beta label to GA"))
        if old.spec.HasField("volume_attributes_class_name") and not new.spec.HasField("volume_attributes_class_name"):
            causes.append(forbidden(SPEC.child("volumeAttributesClassName"), "update from non-nil value to nil is forbidden"))
        return causes

    def selectable_fields(self, obj: core.PersistentVolume) -> Mapping[str, str]:
        return {"name": obj.metadata.name}

    def cells(self, obj: core.PersistentVolume, now: datetime) -> list[object]:
        spec = obj.spec
        claim = f"{spec.claim_ref.namespace}/{spec.claim_ref.name}" if spec.HasField("claim_ref") else ""
        phase = "Terminating" if is_deleting(obj) else obj.status.phase
        name = obj.metadata.annotations.get(CLASS_ANNOTATION) or spec.storage_class_name
        attributes = spec.volume_attributes_class_name if spec.HasField("volume_attributes_class_name") else UNSET
        return [
            obj.metadata.name,
            spec.capacity[STORAGE].string if STORAGE in spec.capacity else "0",
            access_modes_text(spec.access_modes),
            spec.persistent_volume_reclaim_policy,
            phase,
            claim,
            name,
            attributes,
            obj.status.reason,
            age(obj, now),
            spec.volume_mode if spec.HasField("volume_mode") else UNSET,
        ]


def _with_newer_labels(old: core.VolumeNodeAffinity, new: core.VolumeNodeAffinity) -> core.VolumeNodeAffinity:
    """Where it could be used, in terms of the labels that ``new`` speaks of where they are but called otherwise by now."""
    found = copy_of(old)
    for term, wanted in zip(found.required.node_selector_terms, new.required.node_selector_terms, strict=False):
        for rule, other in zip(term.match_expressions, wanted.match_expressions, strict=False):
            if NEWER_LABELS.get(rule.key) == other.key:
                rule.key = other.key
    return found


def validate_volume_spec(spec: core.PersistentVolumeSpec, path: Path) -> list[Cause]:
    here = path.child("accessModes")
    causes = [] if spec.access_modes else [required(here)]
    causes += [not_supported(here, mode, ACCESS_MODES) for mode in spec.access_modes if mode not in ACCESS_MODES]
    causes += validate_access_modes(spec.access_modes, here)
    causes += _capacity(spec, path.child("capacity"))
    policy = spec.persistent_volume_reclaim_policy
    causes += check_choice(path.child("persistentVolumeReclaimPolicy"), policy, RECLAIM_POLICIES, optional=True)
    if spec.HasField("node_affinity"):
        causes += _node_affinity(spec.node_affinity, path.child("nodeAffinity"))
    causes += _source(spec.persistent_volume_source, path)
    if spec.persistent_volume_source.HasField("local") and not spec.HasField("node_affinity"):
        causes.append(required(path.child("nodeAffinity"), "Local volume requires node affinity"))
    if spec.persistent_volume_source.host_path.path == "/" and policy == "Recycle":
        causes.append(forbidden(path.child("persistentVolumeReclaimPolicy"), "may not be 'recycle' for a hostPath mount of '/'"))
    for value, name in (
        (spec.storage_class_name, "storageClassName"),
        (spec.volume_attributes_class_name, "volumeAttributesClassName"),
    ):
        if value:
            causes += check_format(path.child(name), value, dns1123_subdomain)
    if spec.HasField("volume_attributes_class_name"):
        if not spec.volume_attributes_class_name:
            causes.append(required(path.child("volumeAttributesClassName"), "an empty string is disallowed"))
        if not spec.persistent_volume_source.HasField("csi"):
            causes.append(required(path.child("csi"), "has to be specified when using volumeAttributesClassName"))
    return causes + check_given_choice(path.child("volumeMode"), spec, "volume_mode", VOLUME_MODES)


def _capacity(spec: core.PersistentVolumeSpec, path: Path) -> list[Cause]:
    causes = [] if spec.capacity else [required(path)]
    if set(spec.capacity) != {STORAGE}:
        causes.append(not_supported(path, CUT, (STORAGE,)))
    for name in sorted(spec.capacity):
        causes += check_basic(spec.capacity[name], path.key(name)) + check_positive(spec.capacity[name], path.key(name))
    return causes


def _source(source: core.PersistentVolumeSource, path: Path) -> list[Cause]:
    """Exactly one kind of volume."""
    given = [name for name, field in SOURCES.items() if source.HasField(field)]
    if not given:
        return [required(path, "must specify a volume type")]
    causes = [forbidden(path.child(name), "may not specify more than 1 volume type") for name in given[1:]]
    if given[0] == "hostPath":
        causes += validate_host_path(source.host_path, path.child("hostPath"))
    elif given[0] == "nfs":
        causes += validate_nfs(source.nfs, path.child("nfs"))
    elif given[0] == "local" and not source.local.path:
        causes.append(required(path.child("local", "path")))
    elif given[0] == "csi":
        causes += _csi(source.csi, path.child("csi"))
    return causes


def _csi(source: core.CSIPersistentVolumeSource, path: Path) -> list[Cause]:
    causes = check_driver_name(source.driver, path.child("driver"))
    if not source.volume_handle:
        causes.append(required(path.child("volumeHandle")))
    for field, reference in source.ListFields():
        if field.message_type is core.SecretReference.DESCRIPTOR:
            here = path.child(field.json_name)
            causes += [required(here.child(name)) for name in ("name", "namespace") if not getattr(reference, name)]
    return causes


def _node_affinity(affinity: core.VolumeNodeAffinity, path: Path) -> list[Cause]:
    if not affinity.HasField("required"):
        return [required(path.child("required"), "must specify required node constraints")]
    return validate_node_selector(affinity.required, path.child("required"))
