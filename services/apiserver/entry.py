"""Stored objects as the apiserver keeps them: bytes, decoded only when somebody must look inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message

from knarr.machinery.resources import Version
from knarr.objects.copies import copy_of


class Entry:
    """One object at one revision. Immutable; shared by the cache, lists and every watcher.

    ``raw`` is the serialized message, or the JSON, as it lies in etcd, without a resourceVersion. The JSON, the shared message and the
    object in each other version are made when first asked for, at most once per revision; the serialized message with its resourceVersion
    is a copy of a microsecond and is not kept beside ``raw``.
    """

    __slots__ = ("_json", "_served", "_shared", "key", "raw", "revision", "version")

    def __init__(self, version: Version, key: str, revision: int, raw: bytes) -> None:
        self.version = version
        self.key = key
        self.revision = revision
        self.raw = raw
        self._json: bytes | None = None
        self._shared: Any = None
        self._served: dict[Version, Entry] | None = None

    @property
    def json(self) -> bytes:
        """The object as Kubernetes JSON, with apiVersion, kind and resourceVersion."""
        if self._json is None:
            # A copy: the encoder leaves what it has reserved, eight times the letters of the longest text.
            self._json = bytes(memoryview(self.version.form.json(self.raw, self.revision, None)))
        return self._json

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

    def served(self, version: Version) -> Entry:
        """The object in a version of its resource: itself in the stored one, else made once for each."""
        if version.conversion is None:
            return self
        found = self._served.get(version) if self._served is not None else None
        if found is None:
            message = version.from_storage(self.message)
            found = Entry(version, self.key, self.revision, message.SerializeToString())
            self._served = {**(self._served or {}), version: found}
        return found

    def forget_derived(self) -> None:
        """Drops what can be made again: for entries that few will ask for any more."""
        self._json = self._shared = self._served = None

    @property
    def name(self) -> str:
        return self.key[self.key.rindex("/") + 1 :]

    @property
    def namespace(self) -> str:
        """Empty for a cluster-scoped object."""
        return self.key.rsplit("/", 2)[1] if self.version.resource.namespaced else ""


class Listing:
    """The entries of a collection at one moment, in key order, with their joined bytes made once."""

    __slots__ = ("_json", "_served", "entries")

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self._json: bytes | None = None
        self._served: dict[Version, Listing] = {}

    @property
    def is_written(self) -> bool:
        """Whether the JSON is made already."""
        return self._json is not None

    @property
    def items_json(self) -> bytes:
        """``[{…},{…}]``."""
        if self._json is None:
            self._json = b"[" + b",".join([entry.json for entry in self.entries]) + b"]"
        return self._json

    def served(self, version: Version) -> Listing:
        """The same in a version of the resource: itself in the stored one, else made once for each."""
        if version.conversion is None:
            return self
        found = self._served.get(version)
        if found is None:
            found = self._served[version] = Listing([entry.served(version) for entry in self.entries])
        return found
