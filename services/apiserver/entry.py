"""Stored objects as the apiserver keeps them: bytes, decoded only when somebody must look inside."""

from __future__ import annotations

from collections.abc import Mapping
from sys import intern
from typing import Any, ClassVar, Protocol

from google.protobuf.message import Message

from knarr.machinery.resources import Version
from knarr.objects.copies import copy_of

NO_LABELS: Mapping[str, str] = {}


class Selectable(Protocol):
    """What knows the fields of a kind that selectors may ask for; a strategy."""

    def selectable_fields(self, obj: Any) -> Mapping[str, str]: ...


class Entry:
    """One object at one revision. Immutable; shared by the cache, lists and every watcher.

    ``raw`` is the serialized message, or the JSON, as it lies in etcd, without a resourceVersion. The JSON, the shared message and the
    object in each other version are made when first asked for, at most once per revision; the serialized message with its resourceVersion
    is a copy of a microsecond and is not kept beside ``raw``.
    """

    __slots__ = ("_fields", "_labels", "_served", "_shared", "key", "raw", "revision", "version", "written")

    # Whether it lies in the store otherwise than it would be written now: in a version that was stored before.
    stale: ClassVar[bool] = False

    def __init__(self, version: Version, key: str, revision: int, raw: bytes) -> None:
        self.version = version
        self.key = key
        self.revision = revision
        self.raw = raw
        # The JSON, if it is made.
        self.written: bytes | None = None
        self._labels: Mapping[str, str] | None = None
        # With whose they are.
        self._fields: tuple[Selectable, Mapping[str, str]] | None = None
        self._shared: Any = None
        self._served: dict[Version, Entry] | None = None

    @property
    def json(self) -> bytes:
        """The object as Kubernetes JSON, with apiVersion, kind and resourceVersion."""
        found = self.written
        if found is None:
            # A copy: the encoder leaves what it has reserved, eight times the letters of the longest text.
            found = self.written = bytes(memoryview(self.version.form.json(self.raw, self.revision, None)))
        return found

    @property
    def with_revision(self) -> bytes:
        """The bytes with their resourceVersion: a serialized message, or JSON."""
        return self.version.form.with_revision(self.raw, self.revision)

    @property
    def message(self) -> Message:
        """A freshly decoded message with its resourceVersion: the caller's own, free to change."""
        found: Message = self.version.form.decode(self.raw, self.revision)
        return found

    @property
    def shared_message(self) -> Any:
        """The decoded message, made once and shared: read it only. It does not say who manages which field: nobody who shares it asks,
        and of a pod that would be half of its memory."""
        if self._shared is None:
            found: Any = self.message
            if found.metadata.managed_fields:
                found.metadata.ClearField("managed_fields")
                # What a message has let go of it still holds.
                found = copy_of(found)
            self._shared = found
        return self._shared

    @property
    def seen(self) -> Any:
        """The decoded message for one look: the shared one where there is one, else it is not kept."""
        return self._shared if self._shared is not None else self.message

    @property
    def labels(self) -> Mapping[str, str]:
        """The object's labels; kept, unlike the message that they stand in, which takes ten times as much."""
        if self._labels is None:
            labels = self.seen.metadata.labels
            self._labels = {intern(key): intern(value) for key, value in labels.items()} if labels else NO_LABELS
        return self._labels

    def fields(self, selectable: Selectable) -> Mapping[str, str]:
        """What field selectors may ask for, the name and namespace apart; kept like the labels."""
        if self._fields is None or self._fields[0] is not selectable:
            values = selectable.selectable_fields(self.seen)
            self._fields = selectable, {name: intern(value) for name, value in values.items()}
        return self._fields[1]

    def served(self, version: Version) -> Entry:
        """The object in a version of its resource: itself in the stored one, else made once for each. Of a definition
        with several versions the pipeline answers entries of the version that was asked for."""
        if version.conversion is None:
            return self
        found = self._served.get(version) if self._served is not None else None
        if found is None:
            message = version.from_storage(self.message)
            found = Entry(version, self.key, self.revision, message.SerializeToString())
            self._served = {**(self._served or {}), version: found}
        return found

    def known(self, version: Version) -> Entry | None:
        """The object in a version, if it is there without being converted."""
        if self.version is version:
            return self
        return self._served.get(version) if self._served is not None else None

    def keep(self, version: Version, raw: bytes) -> Entry:
        """Takes what somebody has made of the object in a version."""
        found = Entry(version, self.key, self.revision, raw)
        self._served = {**(self._served or {}), version: found}
        return found

    def at(self, revision: int) -> Entry:
        """The same object at another revision, in all versions that it is known in."""
        found = type(self)(self.version, self.key, revision, self.raw)
        if self._served is not None:
            found._served = {version: Entry(version, self.key, revision, other.raw) for version, other in self._served.items()}
        return found

    def is_same(self, other: Entry) -> bool:
        """Whether another entry of the key is of the same value."""
        return (self.revision, self.version, self.stale) == (other.revision, other.version, other.stale) and self.raw == other.raw

    def forget_derived(self) -> None:
        """Drops what can be made again: for entries that few will ask for any more."""
        self.written = self._labels = self._fields = self._shared = self._served = None

    @property
    def name(self) -> str:
        return self.key[self.key.rindex("/") + 1 :]

    @property
    def namespace(self) -> str:
        """Empty for a cluster-scoped object."""
        return self.key.rsplit("/", 2)[1] if self.version.resource.namespaced else ""


class StaleEntry(Entry):
    """An object that was stored in another version than it would be now: writing it anew changes that, though nothing of the object."""

    __slots__ = ()

    stale = True
