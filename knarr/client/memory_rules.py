"""The rules of the fake API server: pure functions over objects."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar, cast

from google.protobuf.message import Message

from knarr.api.autoscaling.v1 import autoscaling_pb2 as autoscaling
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import codec
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import bad_request, conflict
from knarr.machinery.patches import json_patch, merge, strategic
from knarr.machinery.selectors import parse_field_selector, parse_label_selector
from knarr.objects.copies import copy_of
from knarr.objects.keys import metadata_of
from knarr.objects.names import generated

M = TypeVar("M", bound=Message)

DEFAULT_POD_GRACE_SECONDS = 30
PROPAGATION_FINALIZERS = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}
FINISHED_PHASES = ("Succeeded", "Failed")


def matcher(message_type: type[Message], label_selector: str, field_selector: str) -> Callable[[Message], bool]:
    """Whether an object is chosen by both selectors. Raises BadRequest for a field that is not there."""
    if not label_selector and not field_selector:
        return lambda obj: True
    labels, fields = parse_label_selector(label_selector), parse_field_selector(field_selector)
    paths = [part.partition("=")[0].rstrip("!") for part in field_selector.split(",") if part]
    for path in paths:
        _field_value(message_type(), path)

    def matches(obj: Message) -> bool:
        values = {path: _field_value(obj, path) for path in paths}
        return bool(labels.matches(dict(metadata_of(obj).labels)) and fields.matches(values))

    return matches


def _field_value(obj: Any, path: str) -> str:
    for part in path.split("."):
        field = next((field for field in obj.DESCRIPTOR.fields if field.json_name == part), None) if isinstance(obj, Message) else None
        if field is None:
            raise bad_request(f"field label not supported: {path}")
        obj = getattr(obj, field.name)
    return str(obj).lower() if isinstance(obj, bool) else str(obj)


def identify(obj: Message, now: datetime, source: random.Random) -> None:
    """Fills in the name from generateName, uid and creationTimestamp where they are missing."""
    metadata = metadata_of(obj)
    if not metadata.name and metadata.generate_name:
        metadata.name = generated(metadata.generate_name, source)
    metadata.uid = metadata.uid or str(uuid.UUID(int=source.getrandbits(128), version=4))
    if not metadata.HasField("creation_timestamp"):
        metadata.creation_timestamp.seconds = int(now.timestamp())


def prepare_create(obj: Message, now: datetime, source: random.Random) -> None:
    """Makes a client's object a stored one."""
    metadata = metadata_of(obj)
    for name in ("uid", "creation_timestamp", "deletion_timestamp", "deletion_grace_period_seconds"):
        metadata.ClearField(name)
    identify(obj, now, source)
    if not metadata.name:
        raise bad_request("name or generateName is required")
    if _has_status(obj) and not isinstance(obj, core.Node):
        obj.ClearField("status")
    if isinstance(obj, core.Pod):
        obj.status.phase = "Pending"
    if isinstance(obj, core.Namespace):
        obj.status.phase = "Active"
        obj.spec.finalizers[:] = ["kubernetes"]
    if _has_generation(obj):
        metadata.generation = 1


def prepare_update(obj: M, stored: M, subresource: str) -> M:
    """What a write to the object or to its status stores."""
    new = copy_of(stored if subresource == "status" else obj)
    if subresource == "status":
        _set_field(new, obj, "status")
        return new
    if subresource == "" and _has_status(obj):
        _set_field(new, stored, "status")
    metadata, before = metadata_of(new), metadata_of(stored)
    for name in ("uid", "creation_timestamp", "deletion_timestamp", "deletion_grace_period_seconds", "resource_version", "generation"):
        _set_field(metadata, before, name)
    if _has_generation(obj) and _spec(new) != _spec(stored):
        metadata.generation += 1
    return new


def prepare_delete(stored: M, grace_period_seconds: int | None, propagation_policy: str, now: datetime) -> M | None:
    """The object as it stays until its end, or None when it goes at once."""
    going = copy_of(stored)
    metadata = metadata_of(going)
    grace = _grace_period(stored, grace_period_seconds)
    finalizer = PROPAGATION_FINALIZERS.get(propagation_policy)
    if finalizer and finalizer not in metadata.finalizers:
        metadata.finalizers.append(finalizer)
    if isinstance(going, core.Namespace):
        going.status.phase = "Terminating"
    if not metadata.HasField("deletion_timestamp") or grace < metadata.deletion_grace_period_seconds:
        metadata.deletion_timestamp.seconds = int(now.timestamp()) + grace
        metadata.deletion_grace_period_seconds = grace
        if metadata.generation:
            metadata.generation += 1
    return None if is_finished(going) else going


def is_finished(obj: Message) -> bool:
    """Whether a deleted object has nothing left to wait for."""
    metadata = metadata_of(obj)
    waits = metadata.finalizers or metadata.deletion_grace_period_seconds or (isinstance(obj, core.Namespace) and obj.spec.finalizers)
    return metadata.HasField("deletion_timestamp") and not waits


def check_preconditions(stored: Message, uid: str, resource_version: str) -> None:
    """Raises Conflict when the object is not the one that was meant."""
    metadata, version = metadata_of(stored), version_of(type(stored))
    for label, wanted, actual in (("UID", uid, metadata.uid), ("ResourceVersion", resource_version, metadata.resource_version)):
        if wanted and wanted != actual:
            detail = f"Precondition failed: {label} in precondition: {wanted}, {label} in object meta: {actual}"
            raise conflict(version.resource.plural, metadata.name, version.group, detail)


def bound(pod: core.Pod, binding: core.Binding, now: datetime) -> core.Pod:
    """The pod on its node. Raises Conflict when it has one or is going."""
    name = pod.metadata.name
    if pod.metadata.HasField("deletion_timestamp"):
        raise conflict("pods/binding", name, detail=f"pod {name} is being deleted, cannot be assigned to a host")
    if pod.spec.node_name:
        raise conflict("pods/binding", name, detail=f'pod {name} is already assigned to node "{pod.spec.node_name}"')
    new = copy_of(pod)
    new.spec.node_name = binding.target.name
    for condition in [condition for condition in new.status.conditions if condition.type == "PodScheduled"]:
        new.status.conditions.remove(condition)
    condition = new.status.conditions.add(type="PodScheduled", status="True")
    condition.last_transition_time.seconds = int(now.timestamp())
    return new


def scale_of(obj: Any) -> autoscaling.Scale:
    """The scale of an object with ``spec.replicas``."""
    scale = autoscaling.Scale()
    for name in ("name", "namespace", "uid", "resource_version", "creation_timestamp"):
        _set_field(scale.metadata, obj.metadata, name)
    scale.spec.replicas, scale.status.replicas = obj.spec.replicas, obj.status.replicas
    return scale


def rescale(stored: M, scale: autoscaling.Scale) -> M:
    """The object with the replicas of the scale."""
    new = copy_of(stored)
    cast(Any, new).spec.replicas = scale.spec.replicas
    return prepare_update(new, stored, "")


def patched(obj: M, patch: Any, patch_type: str) -> M:
    """The object after a patch."""
    before = codec.to_dict(obj)
    if patch_type == "json":
        after = json_patch.apply(before, patch)
    else:
        after = merge.apply(before, patch) if patch_type == "merge" else strategic.apply(type(obj), before, patch)
    message: M = codec.from_json(type(obj), after).message
    return message


def _grace_period(stored: Any, requested: int | None) -> int:
    if not isinstance(stored, core.Pod) or not stored.spec.node_name or stored.status.phase in FINISHED_PHASES:
        return 0
    if requested is not None:
        return max(requested, 0)
    spec = stored.spec
    return spec.termination_grace_period_seconds if spec.HasField("termination_grace_period_seconds") else DEFAULT_POD_GRACE_SECONDS


def _has_status(obj: Message) -> bool:
    return version_of(type(obj)).resource.subresource("status") is not None


def _has_generation(obj: Message) -> bool:
    return version_of(type(obj)).group == "apps" and _has_status(obj)


def _spec(obj: Any) -> Message:
    spec: Message = obj.spec
    return spec


def _set_field(target: Any, source: Any, name: str) -> None:
    field = type(source).DESCRIPTOR.fields_by_name[name]
    if field.message_type is not None or field.has_presence:
        if not source.HasField(name):
            target.ClearField(name)
        elif field.message_type is not None:
            getattr(target, name).CopyFrom(getattr(source, name))
        else:
            setattr(target, name, getattr(source, name))
    else:
        setattr(target, name, getattr(source, name))
