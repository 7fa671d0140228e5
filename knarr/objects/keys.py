"""Keys: the names under which informers store objects and reconcilers queue work; and what every kind has."""

from __future__ import annotations

from typing import NamedTuple

from google.protobuf.message import Message

from knarr.api.meta.v1 import meta_pb2 as meta


class Key(NamedTuple):
    """An object's namespace and name; the namespace of a cluster-scoped object is empty."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @classmethod
    def parse(cls, text: str) -> Key:
        """Reads ``namespace/name`` or ``name``."""
        namespace, slash, name = text.rpartition("/")
        return cls(namespace if slash else "", name)


def metadata_of(obj: Message) -> meta.ObjectMeta:
    """The metadata of an object of any kind."""
    # Asked hundreds of times for each pod that starts: a cast is a call.
    return obj.metadata  # type: ignore[attr-defined, no-any-return]


def key_of(obj: Message) -> Key:
    """The key of an object of any kind."""
    metadata = obj.metadata  # type: ignore[attr-defined]
    return Key(metadata.namespace, metadata.name)


def is_deleting(obj: Message) -> bool:
    """Whether the deletion of an object of any kind was asked for."""
    return obj.metadata.HasField("deletion_timestamp")  # type: ignore[attr-defined, no-any-return]
