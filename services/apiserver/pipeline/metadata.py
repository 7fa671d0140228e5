"""The rules of ObjectMeta, the same for every kind."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from knarr.machinery.errors import Cause, StatusError, bad_request, conflict
from knarr.machinery.kinds import Kind
from knarr.machinery.validation import dns1035_label, dns1123_label, dns1123_subdomain, label_value, qualified_name
from services.apiserver.results import Ref

ANNOTATIONS_LIMIT_BYTES = 256 * 1024
FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
NAME_FORMATS = {"Namespace": dns1123_label, "Service": dns1035_label}


def check_request(ref: Ref, obj: Any) -> None:
    """An object may not say another place than the request's; its namespace is filled in."""
    found = obj.metadata
    if not ref.kind.namespaced:
        found.namespace = ""
    elif not found.namespace:
        found.namespace = ref.namespace
    elif found.namespace != ref.namespace:
        raise bad_request(
            f"the namespace of the provided object does not match the namespace sent on the request ({found.namespace} != {ref.namespace})"
        )
    if ref.name and found.name and found.name != ref.name:
        raise bad_request(f"the name of the object ({found.name}) does not match the name on the URL ({ref.name})")


def prepare_for_create(obj: Any, now: datetime) -> None:
    """Sets what the server decides; raises BadRequest when a resourceVersion is given."""
    found = obj.metadata
    if found.resource_version:
        raise bad_request("resourceVersion should not be set on objects to be created")
    found.ClearField("deletion_timestamp")
    found.ClearField("deletion_grace_period_seconds")
    found.ClearField("managed_fields")
    found.self_link, found.generation = "", 0
    found.uid = str(uuid.uuid4())
    found.creation_timestamp.seconds, found.creation_timestamp.nanos = int(now.timestamp()), 0


def prepare_for_update(new: Any, old: Any, ref: Ref) -> None:
    """Keeps what a client may not change. Raises Conflict when the uid names another object."""
    found, kept = new.metadata, old.metadata
    found.name = found.name or kept.name
    if found.uid and found.uid != kept.uid:
        raise precondition_failed(ref, f"UID in precondition: {found.uid}, UID in object meta: {kept.uid}")
    found.uid, found.generation, found.self_link = kept.uid, kept.generation, ""
    found.generate_name = found.generate_name or kept.generate_name
    found.creation_timestamp.CopyFrom(kept.creation_timestamp)
    found.ClearField("managed_fields")
    for name in ("deletion_timestamp", "deletion_grace_period_seconds"):
        found.ClearField(name)
    if kept.HasField("deletion_timestamp"):
        found.deletion_timestamp.CopyFrom(kept.deletion_timestamp)
    if kept.HasField("deletion_grace_period_seconds"):
        found.deletion_grace_period_seconds = kept.deletion_grace_period_seconds


def precondition_failed(ref: Ref, detail: str) -> StatusError:
    return conflict(ref.kind.plural, ref.name, ref.kind.group, f"Precondition failed: {detail}")


def validate(kind: Kind, obj: Any) -> list[Cause]:
    """Names, labels, annotations, owners and finalizers."""
    found = obj.metadata
    causes: list[Cause] = []
    if not found.name:
        causes.append(Cause("FieldValueRequired", "Required value: name or generateName is required", "metadata.name"))
    else:
        causes += _each(object_name_problems(kind, found.name), found.name, "metadata.name")
    if found.labels:
        causes += validate_labels(found.labels, "metadata.labels")
    if found.annotations:
        causes += _validate_annotations(found.annotations)
    if found.owner_references:
        causes += _validate_owners(found.owner_references)
    for finalizer in found.finalizers:
        causes += _each(qualified_name(finalizer), finalizer, "metadata.finalizers")
    return causes


def validate_update(kind: Kind, new: Any, old: Any) -> list[Cause]:
    causes = validate(kind, new)
    found, kept = new.metadata, old.metadata
    if kept.HasField("deletion_timestamp"):
        added = sorted(set(found.finalizers) - set(kept.finalizers))
        if added:
            text = "[]string{" + ", ".join(f'"{name}"' for name in added) + "}"
            message = f"Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers {text}"
            causes.append(Cause("FieldValueForbidden", message, "metadata.finalizers"))
    return causes


def validate_labels(labels: Any, field: str) -> list[Cause]:
    causes: list[Cause] = []
    for key, value in labels.items():
        causes += _each(qualified_name(key), key, field)
        causes += _each(label_value(value), value, field)
    return causes


def _each(problems: Iterable[str], value: str, field: str) -> list[Cause]:
    return [Cause("FieldValueInvalid", f'Invalid value: "{value}": {problem}', field) for problem in problems]


def _validate_annotations(annotations: Any) -> list[Cause]:
    causes: list[Cause] = []
    size = 0
    for key, value in annotations.items():
        causes += _each(qualified_name(key.lower()), key, "metadata.annotations")
        size += len(key.encode()) + len(value.encode())
    if size > ANNOTATIONS_LIMIT_BYTES:
        message = f"Too long: may not be more than {ANNOTATIONS_LIMIT_BYTES} bytes"
        causes.append(Cause("FieldValueTooLong", message, "metadata.annotations"))
    return causes


def _validate_owners(owners: Any) -> list[Cause]:
    causes: list[Cause] = []
    for index, owner in enumerate(owners):
        path = f"metadata.ownerReferences[{index}]"
        for attribute, name in (("api_version", "apiVersion"), ("kind", "kind"), ("name", "name"), ("uid", "uid")):
            if not getattr(owner, attribute):
                message = f'Invalid value: "": {"version" if attribute == "api_version" else attribute} must not be empty'
                causes.append(Cause("FieldValueInvalid", message, f"{path}.{name}"))
    if sum(owner.controller for owner in owners) > 1:
        message = "Invalid value: null: Only one reference can have Controller set to true"
        causes.append(Cause("FieldValueInvalid", message, "metadata.ownerReferences"))
    return causes


def object_name_problems(kind: Kind, name: str) -> list[str]:
    """What is wrong with the name of an object of this kind, in sentences."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return NAME_FORMATS.get(kind.name, dns1123_subdomain)(name)
