"""``metadata.managedFields`` as the managers of an object, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.fieldsets import fields as sets
from knarr.machinery.fieldsets.managers import APPLY, UPDATE, Managed, Manager, Owned

FIELDS_V1 = "FieldsV1"
_EMPTY = meta.ManagedFieldsEntry()


def stored(metadata: meta.ObjectMeta) -> Managed:
    """The managers of a stored object; what they own is read when it is asked for."""
    return {_manager(entry): _owned(entry) for entry in metadata.managed_fields}


def given(entries: Iterable[meta.ManagedFieldsEntry]) -> Managed:
    """The managers that a client says an object has; raises ValueError when it makes no sense."""
    result: Managed = {}
    for entry in entries:
        if entry.operation not in (APPLY, UPDATE):
            raise ValueError("operation must be `Apply` or `Update`")
        if not entry.api_version:
            raise ValueError("apiVersion must not be empty")
        if entry.fields_type != FIELDS_V1:
            raise ValueError(f"fieldsType must be {FIELDS_V1}")
        seconds = entry.time.seconds if entry.HasField("time") else None
        result[_manager(entry)] = Owned(entry.api_version, seconds, fields=sets.decode(entry.fields_v1.raw))
    return result


def mark_reset(value: dict[str, Any]) -> None:
    """Says of an object's JSON with an empty list of managers what ``is_reset`` looks for: a message does not know empty from absent."""
    metadata = value.get("metadata")
    if isinstance(metadata, dict) and metadata.get("managedFields") == []:
        metadata["managedFields"] = [{}]


def is_reset(metadata: meta.ObjectMeta) -> bool:
    """Whether a client wants an object to have no managers any more: it says so by one empty entry."""
    return len(metadata.managed_fields) == 1 and metadata.managed_fields[0] == _EMPTY


def write(metadata: meta.ObjectMeta, managed: Managed) -> None:
    """Makes these the managers of an object, in Kubernetes' order: who applied first, then by time and name."""
    metadata.ClearField("managed_fields")
    ordered = sorted(managed.items(), key=_place) if len(managed) > 1 else managed.items()
    for manager, owned in ordered:
        add(metadata, manager, owned.api_version, owned.seconds, owned.raw)


def add(metadata: meta.ObjectMeta, manager: Manager, api_version: str, seconds: int | None, raw: bytes) -> None:
    """Adds a manager; ``raw`` is FieldsV1."""
    entry = metadata.managed_fields.add()
    entry.manager, entry.operation, entry.api_version, entry.fields_type = manager.name, manager.operation, api_version, FIELDS_V1
    entry.fields_v1.raw = raw
    if seconds is not None:
        entry.time.seconds = seconds
    if manager.subresource:
        entry.subresource = manager.subresource


def only_times_differ(new: Any, old: Any) -> bool:
    """Whether the managers of two objects are the same but for when they wrote, and that is not the same."""
    entries, before = new.metadata.managed_fields, old.metadata.managed_fields
    if not entries or len(entries) != len(before) or entries == before:
        return False
    return all(_timeless(one) == _timeless(other) for one, other in zip(entries, before, strict=True))


def _timeless(entry: meta.ManagedFieldsEntry) -> tuple[object, ...]:
    return entry.manager, entry.operation, entry.api_version, entry.subresource, entry.fields_type, entry.fields_v1.raw


def _place(item: tuple[Manager, Owned]) -> tuple[str, int, str, str, str]:
    manager, owned = item
    return manager.operation, owned.seconds or 0, manager.name, owned.api_version, manager.subresource


def _manager(entry: meta.ManagedFieldsEntry) -> Manager:
    version = "" if entry.operation == APPLY else entry.api_version
    return Manager(entry.manager, entry.operation, version, entry.subresource)


def _owned(entry: meta.ManagedFieldsEntry) -> Owned:
    return Owned(entry.api_version, entry.time.seconds if entry.HasField("time") else None, raw=entry.fields_v1.raw)
