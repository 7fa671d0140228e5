"""Objects of kinds that have no message: their metadata, and the rest as JSON.

Each version of a custom resource has a class of its own, as other versions have a message of their own; it does what of a message is
asked of whole objects, so that whoever handles objects of any kind need not tell them apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import orjson
from google.protobuf.message import Message

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import codec

if TYPE_CHECKING:
    from knarr.machinery.custom.scale import ScalePaths

TYPE_FIELDS = ("apiVersion", "kind", "metadata")


class Names:
    """Stands where a message has its descriptor: what the class is called, in logs and in errors."""

    __slots__ = ("fields", "fields_by_name", "full_name", "name")

    def __init__(self, api_version: str, kind: str) -> None:
        self.name, self.full_name = kind, f"{api_version}.{kind}"
        self.fields: tuple[Any, ...] = ()
        self.fields_by_name: dict[str, Any] = {}


class CustomObject:
    """``content`` is the object's JSON without apiVersion, kind and metadata."""

    __slots__ = ("content", "metadata", "size_bytes")

    DESCRIPTOR: ClassVar[Names] = Names("", "CustomObject")
    # apiVersion and kind.
    names: ClassVar[tuple[str, str]] = ("", "")
    # Where its counts of replicas stand, of a kind that can be scaled.
    scale: ClassVar[ScalePaths | None] = None

    def __init__(self, metadata: meta.ObjectMeta | None = None, content: dict[str, Any] | None = None, size_bytes: int = 0) -> None:
        self.metadata = metadata if metadata is not None else meta.ObjectMeta()
        self.content: dict[str, Any] = content if content is not None else {}
        # About the length of its JSON, which says what work on it takes.
        self.size_bytes = size_bytes

    @classmethod
    def FromString(cls, raw: bytes) -> Self:
        """Raises ValueError for what is no JSON object, BadRequest for malformed metadata."""
        value = orjson.loads(raw)
        if not isinstance(value, dict):
            raise ValueError("not a JSON object")
        found = codec.from_json(meta.ObjectMeta, value.get("metadata") or {}).message
        return cls(found, content_of(value), len(raw))

    def SerializeToString(self, *, deterministic: bool = False) -> bytes:
        """The object as JSON; what comes first is what readers look for first, the rest is sorted."""
        api_version, kind = self.names
        head = b'{"apiVersion":%b,"kind":%b,"metadata":%b' % (
            orjson.dumps(api_version),
            orjson.dumps(kind),
            orjson.dumps(codec.to_dict(self.metadata), option=orjson.OPT_SORT_KEYS),
        )
        rest = orjson.dumps(self.content, option=orjson.OPT_SORT_KEYS)
        return b"".join((head, b",", rest[1:]) if len(rest) > 2 else (head, b"}"))

    def to_dict(self) -> dict[str, Any]:
        """The whole JSON object; its parts are the object's own."""
        api_version, kind = self.names
        return {"apiVersion": api_version, "kind": kind, "metadata": codec.to_dict(self.metadata), **self.content}

    def ByteSize(self) -> int:
        """About."""
        return self.size_bytes

    def CopyFrom(self, other: CustomObject) -> None:
        self.metadata.CopyFrom(other.metadata)
        self.content = orjson.loads(orjson.dumps(other.content))
        self.size_bytes = other.size_bytes

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.metadata == other.metadata and self.content == other.content

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{self.names[1]} {self.metadata.namespace}/{self.metadata.name}>"


def content_of(value: dict[str, Any]) -> dict[str, Any]:
    """A JSON object without what every object has."""
    return {name: item for name, item in value.items() if name not in TYPE_FIELDS}


def custom_class(api_version: str, kind: str, scale: ScalePaths | None = None) -> type[Message]:
    """A class for the objects of one version. What handles objects of every kind knows it as the type of a message."""
    names = {"__slots__": (), "names": (api_version, kind), "DESCRIPTOR": Names(api_version, kind), "scale": scale}
    return cast("type[Message]", type(kind, (CustomObject,), names))
