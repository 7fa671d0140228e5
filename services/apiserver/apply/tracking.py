"""What a create, an update or a patch writes into ``metadata.managedFields``: its manager owns from now on what it changed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from knarr.machinery.fieldsets.fields import Fields
from knarr.machinery.fieldsets.managers import UPDATE, Managed, Manager, updated
from knarr.machinery.resources import Version
from services.apiserver.apply import entries, remembered, repeated
from services.apiserver.apply.changes import Changes
from services.apiserver.apply.versions import Known, ServedVersions
from services.apiserver.results import Ref


def track_create(ref: Ref, obj: Any, unreached: Fields, manager: str, now: datetime, known: Known | None = None) -> None:
    """``obj`` is new, as it is stored: what it says is its creator's. Raises Unconverted, and has changed ``obj`` by then."""
    metadata, version = obj.metadata, ref.version
    managed = _given(metadata) if metadata.managed_fields else {}
    metadata.ClearField("managed_fields")
    # What is as it is stored is looked up, if somebody else does not own some of it.
    outline = remembered.outline(obj) if not managed and _is_plain(version) else None
    if outline is None:
        _write(ref, metadata, managed, Changes(ServedVersions(version, unreached, known), None, obj), manager, int(now.timestamp()))
    elif raw := _creators_set(version, unreached, obj, outline):
        entries.add(metadata, Manager(manager, UPDATE, version.api_version), version.api_version, int(now.timestamp()), raw)


def track_update(ref: Ref, new: Any, old: Any, unreached: Fields, manager: str, now: datetime, known: Known | None = None) -> None:
    """``new`` replaces ``old``, both as they are stored. An object without managers gets none: it was stored before there were any, or its
    managers were taken from it. Through a sub-resource they are not changed otherwise. Raises Unconverted."""
    found, kept = new.metadata, old.metadata
    managed: Managed | None = None
    if not ref.subresource and found.managed_fields and found.managed_fields != kept.managed_fields:
        managed = {} if entries.is_reset(found) else _given(found) or None
    changes = Changes(ServedVersions(ref.version, unreached, known), old, new)
    if managed is None and not ref.subresource and _is_plain(ref.version):
        key = repeated.key_of(ref.version, new, old, manager)
        if key is not None:
            _repeat(ref, found, kept, key, unreached, changes, manager, now)
            return
    if managed is None:
        managed = entries.stored(kept)
    if managed:
        _write(ref, found, managed, changes, manager, int(now.timestamp()))
    else:
        found.ClearField("managed_fields")


def _repeat(ref: Ref, found: Any, kept: Any, key: repeated.Key, unreached: Fields, changes: Changes, manager: str, now: datetime) -> None:
    """Writes the managers into the metadata ``found``, that were in ``kept`` before, as an update like this one has made them."""
    before = kept.managed_fields
    after = repeated.recall(key, unreached)
    if after is None:
        at = repeated.another_time(before)
        _write(ref, found, entries.stored(kept), changes, manager, at)
        after = repeated.kept_of(before, found.managed_fields, at)
        repeated.remember(key, unreached, after)
    found.ClearField("managed_fields")
    found.managed_fields.extend(repeated.entries_of(after, before, int(now.timestamp())))


def _is_plain(version: Version) -> bool:
    """Whether its objects are messages, as they are stored: only of those anything is remembered."""
    return version.conversion is None and version.form.has_message


def _creators_set(version: Version, unreached: Fields, obj: Any, outline: remembered.Outline) -> bytes:
    """What the creator of an object owns, as FieldsV1; empty when there is nothing."""
    known = remembered.recall(version, unreached, outline)
    if known is None:
        creator, api_version, versions = Manager("", UPDATE), version.api_version, ServedVersions(version, unreached)
        managed = updated(versions, {}, Changes(versions, None, obj).compared, creator, api_version, 0)
        known = managed[creator].raw if creator in managed else b""
        remembered.remember(version, unreached, outline, known)
    return known


def _write(ref: Ref, metadata: Any, managed: Managed, changes: Changes, manager: str, seconds: int) -> None:
    version = ref.version.api_version
    writer = Manager(manager, UPDATE, version, ref.subresource)
    entries.write(metadata, updated(changes.versions, managed, changes.compared, writer, version, seconds))


def _given(metadata: Any) -> Managed:
    """The managers that a client gives an object; none when they make no sense, as in Kubernetes."""
    try:
        return entries.given(metadata.managed_fields)
    except ValueError:
        return {}
