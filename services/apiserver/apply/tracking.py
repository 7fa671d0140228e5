"""What a create, an update or a patch writes into ``metadata.managedFields``: its manager owns from now on what it changed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from knarr.machinery.fieldsets.fields import Fields
from knarr.machinery.fieldsets.managers import UPDATE, Managed, Manager, updated
from services.apiserver.apply import entries, remembered
from services.apiserver.apply.changes import Changes
from services.apiserver.apply.versions import ServedVersions
from services.apiserver.results import Ref


def track_create(ref: Ref, obj: Any, unreached: Fields, manager: str, now: datetime) -> None:
    """``obj`` is new, as it is stored: what it says is its creator's."""
    metadata, version = obj.metadata, ref.version
    managed = _given(metadata) if metadata.managed_fields else {}
    metadata.ClearField("managed_fields")
    # What is as it is stored is looked up, if somebody else does not own some of it.
    outline = remembered.outline(obj) if not managed and version.conversion is None and version.form.has_message else None
    if outline is not None and (raw := remembered.recall(version, unreached, outline)) is not None:
        entries.add(metadata, Manager(manager, UPDATE, version.api_version), version.api_version, int(now.timestamp()), raw)
        return
    _write(ref, metadata, managed, Changes(ServedVersions(version, unreached), None, obj), manager, now)
    if outline is not None and len(metadata.managed_fields) == 1:
        remembered.remember(version, unreached, outline, metadata.managed_fields[0].fields_v1.raw)


def track_update(ref: Ref, new: Any, old: Any, unreached: Fields, manager: str, now: datetime) -> None:
    """``new`` replaces ``old``, both as they are stored. An object without managers gets none: it was stored before there were any, or its
    managers were taken from it. Through a sub-resource they are not changed otherwise."""
    found, kept = new.metadata, old.metadata
    managed: Managed | None = None
    if not ref.subresource and found.managed_fields and found.managed_fields != kept.managed_fields:
        managed = {} if entries.is_reset(found) else _given(found) or None
    if managed is None:
        managed = entries.stored(kept)
    if managed:
        _write(ref, found, managed, Changes(ServedVersions(ref.version, unreached), old, new), manager, now)
    else:
        found.ClearField("managed_fields")


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
