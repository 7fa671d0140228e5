"""How the objects of one version are kept, read and written: what a ``Version`` asks of that which its objects are made of.

``MessageForm`` is that of the kinds with a protobuf message; ``knarr.machinery.custom`` has that of custom resources, whose objects
are JSON. Whoever holds a version asks its form, and so does not care which of the two it is.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import orjson
from google.protobuf.message import DecodeError, Message

from knarr.machinery import codec, envelope
from knarr.machinery.codec import Decoded, UnknownFields
from knarr.machinery.errors import StatusError


class ObjectForm(abc.ABC):
    """``raw`` is an object's bytes as they are kept: without a resourceVersion, and without the envelope that they have in the store."""

    # Whether there is a message that others know too: protobuf bodies, strategic merge patches.
    has_message: ClassVar[bool]

    @abc.abstractmethod
    def wrap(self, raw: bytes) -> bytes:
        """The value to store."""

    @abc.abstractmethod
    def unwrap(self, value: bytes) -> tuple[str, bytes]:
        """The apiVersion and the bytes of a stored value; raises ValueError for what is none."""

    @abc.abstractmethod
    def with_revision(self, raw: bytes, revision: int) -> bytes:
        """The bytes with their resourceVersion."""

    @abc.abstractmethod
    def decode(self, raw: bytes, revision: int) -> Any:
        """A fresh object with its resourceVersion; raises ValueError or DecodeError."""

    @abc.abstractmethod
    def json(self, raw: bytes, revision: int, shared: Any) -> bytes:
        """The object as Kubernetes JSON with its resourceVersion; ``shared`` is the same decoded, if it is at hand."""

    @abc.abstractmethod
    def to_dict(self, obj: Any) -> dict[str, Any]:
        """The JSON object, with apiVersion and kind."""

    @abc.abstractmethod
    def to_json(self, obj: Any) -> bytes:
        """``to_dict`` as text."""

    @abc.abstractmethod
    def from_json(
        self,
        data: bytes | dict[str, Any],
        unknown: UnknownFields = UnknownFields.DROP,
        parsed: dict[str, Any] | None = None,
        *,
        written: dict[str, Any] | None = None,
    ) -> Decoded[Any]:
        """The object that a JSON text or value describes; as ``codec.from_json``."""


class MessageForm(ObjectForm):
    """Objects are messages, kept serialized. ``names`` are the apiVersion and kind that they are stored and written under, if any."""

    has_message = True

    def __init__(self, message: type[Message], names: tuple[str, str] | None) -> None:
        self._message = message
        self._names = names

    def wrap(self, raw: bytes) -> bytes:
        return envelope.wrap(*(self._names or ("", "")), raw)

    def unwrap(self, value: bytes) -> tuple[str, bytes]:
        try:
            stored = envelope.unwrap(value)
        except DecodeError as error:
            raise ValueError(str(error)) from None
        return stored.type_meta.api_version, stored.raw

    def with_revision(self, raw: bytes, revision: int) -> bytes:
        return envelope.with_resource_version(raw, revision)

    def decode(self, raw: bytes, revision: int) -> Any:
        return self._message.FromString(envelope.with_resource_version(raw, revision))

    def json(self, raw: bytes, revision: int, shared: Any) -> bytes:
        return codec.to_json(shared if shared is not None else self.decode(raw, revision), self._names)

    def to_dict(self, obj: Any) -> dict[str, Any]:
        return codec.to_dict(obj, self._names)

    def to_json(self, obj: Any) -> bytes:
        return codec.to_json(obj, self._names)

    def from_json(
        self,
        data: bytes | dict[str, Any],
        unknown: UnknownFields = UnknownFields.DROP,
        parsed: dict[str, Any] | None = None,
        *,
        written: dict[str, Any] | None = None,
    ) -> Decoded[Any]:
        return codec.from_json(self._message, data, unknown, parsed, written=written)


class JsonKeptForm(MessageForm):
    """Objects are messages, but lie in the store as JSON, where Kubernetes keeps them so; protobuf is read too.

    ``modern`` makes an object of the present version of one that older Kubernetes stored.
    """

    def __init__(
        self, message: type[Message], names: tuple[str, str], modern: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    ) -> None:
        super().__init__(message, names)
        self._modern = modern

    def wrap(self, raw: bytes) -> bytes:
        return codec.to_json(self._message.FromString(raw), self._names)

    def unwrap(self, value: bytes) -> tuple[str, bytes]:
        if value[:1] != b"{":
            return super().unwrap(value)
        found = orjson.loads(value)
        if self._modern is not None:
            found = self._modern(found)
        try:
            message = codec.from_json(self._message, found).message
        except StatusError as error:
            raise ValueError(error.status.message) from None
        return str(found.get("apiVersion", "")), message.SerializeToString(deterministic=True)
