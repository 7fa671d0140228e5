"""What a create, an update or a patch writes into ``metadata.managedFields``: its manager owns from now on what it changed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.fieldsets.fields import Fields
from knarr.machinery.fieldsets.managers import UPDATE, Managed, Manager, updated
from knarr.machinery.resources import Version
from services.apiserver.apply import entries, remembered
from services.apiserver.apply.changes import Changes, any_differ
from services.apiserver.apply.versions import Known, ServedVersions
from services.apiserver.results import Ref


def track_create(ref: Ref, obj: Any, unreached: Fields, manager: str, now: datetime, known: Known | None = None) -> None:
    """``obj`` is new, as it is stored: what it says is its creator's. Raises Unconverted, and has changed ``obj`` by then."""
    metadata, version = obj.metadata, ref.version
    managed = _given(metadata) if metadata.managed_fields else {}
    metadata.ClearField("managed_fields")
    # What is as it is stored is looked up, if somebody else does not own some of it.
    outline = _outline(version, obj) if not managed else None
    if outline is None:
        _write(ref, metadata, managed, Changes(ServedVersions(version, unreached, known), None, obj), manager, now)
    elif raw := _creators_set(version, unreached, obj, outline):
        entries.add(metadata, Manager(manager, UPDATE, version.api_version), version.api_version, int(now.timestamp()), raw)


def track_update(ref: Ref, new: Any, old: Any, unreached: Fields, manager: str, now: datetime, known: Known | None = None) -> None:
    """``new`` replaces ``old``, both as they are stored. An object without managers gets none: it was stored before there were any, or its
    managers were taken from it. Through a sub-resource they are not changed otherwise. Raises Unconverted."""
    found, kept = new.metadata, old.metadata
    managed: Managed | None = None
    if not ref.subresource and found.managed_fields and found.managed_fields != kept.managed_fields:
        managed = {} if entries.is_reset(found) else _given(found) or None
    if managed is None and (owner := _goes_on(ref, new, old, unreached, manager)) is not None:
        found.ClearField("managed_fields")
        found.managed_fields.append(owner)
        if any_differ(old, new, unreached):
            found.managed_fields[0].time.seconds = int(now.timestamp())
        return
    if managed is None:
        managed = entries.stored(kept)
    if managed:
        _write(ref, found, managed, Changes(ServedVersions(ref.version, unreached, known), old, new), manager, now)
    else:
        found.ClearField("managed_fields")


def _goes_on(ref: Ref, new: Any, old: Any, unreached: Fields, manager: str) -> meta.ManagedFieldsEntry | None:
    """The entry of the only manager of an object, if it is the one who writes, owns what a creator of the object owns, and writes an
    object that looks the same: nothing changes hands then."""
    version, managers = ref.version, old.metadata.managed_fields
    if len(managers) != 1 or ref.subresource:
        return None
    only: meta.ManagedFieldsEntry = managers[0]
    if (only.manager, only.operation, only.api_version, only.subresource) != (manager, UPDATE, version.api_version, ""):
        return None
    outline = _outline(version, new)
    if outline is None or remembered.outline(old) != outline:
        return None
    return only if _creators_set(version, unreached, new, outline) == only.fields_v1.raw else None


def _outline(version: Version, obj: Any) -> remembered.Outline | None:
    """None for what is not remembered: objects that are not as they are stored, and those without a message."""
    return remembered.outline(obj) if version.conversion is None and version.form.has_message else None


def _creators_set(version: Version, unreached: Fields, obj: Any, outline: remembered.Outline) -> bytes:
    """What the creator of an object owns, as FieldsV1; empty when there is nothing."""
    known = remembered.recall(version, unreached, outline)
    if known is None:
        creator, api_version, versions = Manager("", UPDATE), version.api_version, ServedVersions(version, unreached)
        managed = updated(versions, {}, Changes(versions, None, obj).compared, creator, api_version, 0)
        known = managed[creator].raw if creator in managed else b""
        remembered.remember(version, unreached, outline, known)
    return known


def _write(ref: Ref, metadata: Any, managed: Managed, changes: Changes, manager: str, now: datetime) -> None:
    version = ref.version.api_version
    writer = Manager(manager, UPDATE, version, ref.subresource)
    entries.write(metadata, updated(changes.versions, managed, changes.compared, writer, version, int(now.timestamp())))


def _given(metadata: Any) -> Managed:
    """The managers that a client gives an object; none when they make no sense, as in Kubernetes."""
    try:
        return entries.given(metadata.managed_fields)
    except ValueError:
        return {}
