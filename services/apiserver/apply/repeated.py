"""Who manages what after an update, remembered by where the object changed: most updates change the same fields as one before did.

Where the object before and after has the same fields and lists, nothing comes to it and nothing goes: some of its values are others. Who
has them then follows from which they are, from the managers and from the writer, whatever else is in the object.
"""

from __future__ import annotations

from collections.abc import Sequence
from sys import intern
from typing import Any, NamedTuple

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.fieldsets.fields import Fields
from knarr.machinery.fieldsets.managers import MAX_UPDATE_MANAGERS
from knarr.machinery.resources import Version
from services.apiserver.apply import remembered
from services.apiserver.apply.entries import FIELDS_V1

# What is remembered at most: as many updates, and in all so much of what managers own. There are as many heartbeats as nodes, for each
# Lease names its own among its owners. Of more places than so few updates are alike.
MAX_UPDATES, MAX_HELD_BYTES, MAX_SPOTS = 8192, 4 * 1024 * 1024, 16


class Row(NamedTuple):
    """An entry of ``managedFields`` without its time."""

    manager: str
    operation: str
    api_version: str
    subresource: str
    raw: bytes


class Kept(NamedTuple):
    """A manager after an update: since when the one at ``place`` was before, or since the update (None)."""

    row: Row
    place: int | None


Key = tuple[Any, ...]


class Memory:
    """Managers after updates; those that came first are forgotten first."""

    def __init__(self) -> None:
        self._known: dict[Key, tuple[Fields, Sequence[Kept], int]] = {}
        self._held_bytes = 0

    def __len__(self) -> int:
        return len(self._known)

    def recall(self, key: Key, unreached: Fields) -> Sequence[Kept] | None:
        known = self._known.get(key)
        return known[1] if known is not None and known[0] is unreached else None

    def remember(self, key: Key, unreached: Fields, kept: Sequence[Kept]) -> None:
        *_, rows = key
        size = sum(len(row.raw) for row in (*rows, *(one.row for one in kept)))
        self._forget(key)
        while self._known and (len(self._known) >= MAX_UPDATES or self._held_bytes + size > MAX_HELD_BYTES):
            self._forget(next(iter(self._known)))
        self._known[key] = unreached, kept, size
        self._held_bytes += size

    def _forget(self, key: Key) -> None:
        if (known := self._known.pop(key, None)) is not None:
            self._held_bytes -= known[2]


_known = Memory()


def key_of(version: Version, new: Any, old: Any, manager: str) -> Key | None:
    """What an update is remembered by; None for one that is not: something comes or goes, or there are managers of other versions."""
    before = old.metadata.managed_fields
    if not 0 < len(before) < MAX_UPDATE_MANAGERS or any(entry.api_version != version.api_version for entry in before):
        return None
    spots = remembered.spots(old, new)
    if spots is None or len(spots) > MAX_SPOTS:
        return None
    rows = tuple(map(_row, before))
    if sum(len(row.raw) for row in rows) > remembered.MAX_BYTES:
        return None
    return version, manager, spots, rows


def recall(key: Key, unreached: Fields) -> Sequence[Kept] | None:
    """The managers after the update that has this key; None if it is not known."""
    return _known.recall(key, unreached)


def remember(key: Key, unreached: Fields, kept: Sequence[Kept]) -> None:
    if sum(len(one.row.raw) for one in kept) <= remembered.MAX_BYTES:
        _known.remember(key, unreached, kept)


def another_time(before: Sequence[meta.ManagedFieldsEntry]) -> int:
    """A time at which none of these has written: what an update at that time made of them can be told from what it has left."""
    return 1 + max(entry.time.seconds for entry in before)


def kept_of(before: Sequence[meta.ManagedFieldsEntry], after: Sequence[meta.ManagedFieldsEntry], at: int) -> Sequence[Kept]:
    """What an update at such a time has made of the managers."""
    places = {_row(entry)[:4]: place for place, entry in enumerate(before)}
    rows = [(entry, _row(entry)) for entry in after]
    return tuple(Kept(row, None if entry.time.seconds == at else places[row[:4]]) for entry, row in rows)


def entries_of(kept: Sequence[Kept], before: Sequence[meta.ManagedFieldsEntry], now: int) -> list[meta.ManagedFieldsEntry]:
    """The managers after such an update at the time ``now``, in Kubernetes' order."""
    found = []
    for row, place in kept:
        entry = meta.ManagedFieldsEntry()
        if place is not None:
            entry.CopyFrom(before[place])
        else:
            entry.manager, entry.operation, entry.api_version = row.manager, row.operation, row.api_version
            entry.fields_type = FIELDS_V1
            entry.time.seconds = now
        entry.fields_v1.raw = row.raw
        found.append(entry)
    found.sort(key=_place)
    return found


def _row(entry: meta.ManagedFieldsEntry) -> Row:
    manager, operation, version = intern(entry.manager), intern(entry.operation), intern(entry.api_version)
    return Row(manager, operation, version, entry.subresource, entry.fields_v1.raw)


def _place(entry: meta.ManagedFieldsEntry) -> tuple[str, int, str, str, str]:
    """As ``entries`` orders them."""
    return entry.operation, entry.time.seconds, entry.manager, entry.api_version, entry.subresource
