"""Stored objects as the apiserver keeps them: bytes, decoded only when somebody must look inside."""

from __future__ import annotations

from google.protobuf.message import Message

from knarr.machinery import codec
from knarr.machinery.envelope import with_resource_version
from knarr.machinery.kinds import Kind


class Entry:
    """One object at one revision. Immutable; shared by the cache, lists and every watcher.

    ``raw`` is the serialized message as it lies in etcd, without a resourceVersion. The JSON is
    made when first asked for, at most once per revision.
    """

    __slots__ = ("_json", "_message", "_protobuf", "key", "kind", "raw", "revision")

    def __init__(self, kind: Kind, key: str, revision: int, raw: bytes) -> None:
        self.kind = kind
        self.key = key
        self.revision = revision
        self.raw = raw
        self._json: bytes | None = None
        self._protobuf: bytes | None = None
        self._message: Message | None = None

    @property
    def json(self) -> bytes:
        """The object as Kubernetes JSON, with apiVersion, kind and resourceVersion."""
        if self._json is None:
            self._json = codec.to_json(self.message)
        return self._json

    @property
    def protobuf(self) -> bytes:
        """The serialized message with its resourceVersion."""
        if self._protobuf is None:
            self._protobuf = with_resource_version(self.raw, self.revision)
        return self._protobuf

    @property
    def message(self) -> Message:
        """A freshly decoded message with its resourceVersion: the caller's own, free to change."""
        return self.kind.message.FromString(self.protobuf)
