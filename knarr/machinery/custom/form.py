"""How custom objects are kept, read and written: as JSON, in the store as Kubernetes keeps them there."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import orjson
from google.protobuf.message import Message

from knarr.api.apiextensions.v1 import apiextensions_pb2 as apiextensions
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import budget, codec, diagnosis
from knarr.machinery.codec import Decoded, UnknownFields
from knarr.machinery.custom.objects import CustomObject, content_of
from knarr.machinery.custom.schema import Schema
from knarr.machinery.errors import StatusError, bad_request
from knarr.machinery.object_forms import ObjectForm

SHOWN_LETTERS = 200


class CustomForm(ObjectForm):
    """Of one version, which its definition ``described``. ``source`` answers its schema, which is asked for with the first object: most
    versions have none. Without it objects are taken as they are: for those who are told by a server what it serves."""

    has_message = False

    def __init__(
        self,
        message: type[Message],
        source: Callable[[], dict[str, Any]] | None = None,
        described: apiextensions.CustomResourceDefinitionVersion | None = None,
    ) -> None:
        self._class: type[CustomObject] = message  # type: ignore[assignment]
        self._source, self.described, self.scale = source, described, self._class.scale
        # As large an object is taken to be at least: rules may make much work of a small one.
        self.least_size_bytes = 0
        api_version, kind = self._class.names
        # What Kubernetes writes sorts its keys, and so mostly begins like this too.
        self._head = b'{"apiVersion":%b,"kind":%b,"metadata":{' % (orjson.dumps(api_version), orjson.dumps(kind))

    @cached_property
    def schema(self) -> Schema | None:
        return Schema(self._source(), root=True) if self._source is not None else None

    def wrap(self, raw: bytes) -> bytes:
        return raw

    def unwrap(self, value: bytes) -> tuple[str, bytes]:
        if value.startswith(self._head) and value[len(self._head) : len(self._head) + 1] == b'"':
            return self._class.names[0], value
        found = orjson.loads(value)
        if not isinstance(found, dict) or not isinstance(found.get("apiVersion"), str):
            raise ValueError("not the JSON of an object")
        api_version: str = found["apiVersion"]
        return api_version, self._class.FromString(value).SerializeToString() if api_version == self._class.names[0] else value

    def with_revision(self, raw: bytes, revision: int) -> bytes:
        end = len(self._head)
        return b"".join((raw[:end], b'"resourceVersion":"%d",' % revision, raw[end:]))

    def renamed(self, raw: bytes, source: CustomForm) -> bytes:
        """The bytes of an object of another version as one of this, where they differ in their apiVersion only."""
        return self._head + raw[len(source._head) :]

    def decode(self, raw: bytes, revision: int) -> CustomObject:
        found = self._class.FromString(raw)
        found.metadata.resource_version = str(revision)
        if self.schema is not None:
            self.schema.complete(found.content)
        return found

    def json(self, raw: bytes, revision: int, shared: Any) -> bytes:
        return self.with_revision(self.completed(raw), revision)

    def completed(self, raw: bytes) -> bytes:
        """The bytes of an object that was kept under another schema as they are under this one."""
        if self.schema is None or self.schema.is_complete(orjson.loads(raw)):
            return raw
        found = self._class.FromString(raw)
        self.schema.complete(found.content)
        return found.SerializeToString()

    def to_dict(self, obj: CustomObject) -> dict[str, Any]:
        return obj.to_dict()

    def to_json(self, obj: CustomObject) -> bytes:
        return obj.SerializeToString()

    def from_json(
        self,
        data: bytes | dict[str, Any],
        unknown: UnknownFields = UnknownFields.DROP,
        parsed: dict[str, Any] | None = None,
        *,
        written: dict[str, Any] | None = None,
    ) -> Decoded[Any]:
        text = data if isinstance(data, bytes) else None
        value: Any = data if isinstance(data, dict) else parsed if isinstance(parsed, dict) else self._parse(data)
        budget.check(value, text)
        self._check_names(value)
        metadata = value.get("metadata")
        if metadata is not None and not isinstance(metadata, dict):
            raise self._refused("json: cannot unmarshal into Go struct field .metadata of type v1.ObjectMeta")
        warn = unknown is not UnknownFields.DROP
        strays = self._repeated(text, value, written) if warn else []
        try:
            found = codec.from_json(meta.ObjectMeta, metadata or {}, UnknownFields.WARN if warn else UnknownFields.DROP)
        except StatusError as error:
            raise self._refused(error.status.message.partition(": ")[2] or error.status.message) from None
        strays += [warning.replace('"', '"metadata.', 1) for warning in found.warnings if warning.startswith("unknown")]
        content = content_of(value)
        if self.schema is not None:
            strays += [f'unknown field "{path}"' for path in self.schema.prune(content, track=warn)]
            self.schema.default(content)
        if strays and unknown is UnknownFields.REJECT:
            raise self._refused("strict decoding error: " + diagnosis.strict_words(strays))
        size_bytes = max(self.least_size_bytes, len(text) if text is not None else len(orjson.dumps(content)))
        obj: Any = self._class(found.message, content, size_bytes)
        return Decoded(obj, strays)

    def _parse(self, text: bytes) -> dict[str, Any]:
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise bad_request(f"error decoding: the body is no JSON: {error}") from None
        if not isinstance(value, dict):
            raise bad_request("error decoding: the body is no JSON object")
        return value

    def _check_names(self, value: dict[str, Any]) -> None:
        """Kubernetes has no other way to know what JSON is: unlike those of other kinds, custom objects must say it."""
        for field, name in (("kind", "Kind"), ("apiVersion", "apiVersion")):
            if not value.get(field):
                raise bad_request(f"Object '{name}' is missing in '{orjson.dumps(value).decode()[:SHOWN_LETTERS]}'")

    def _repeated(self, text: bytes | None, value: dict[str, Any], written: dict[str, Any] | None) -> list[str]:
        if written is None:
            if text is None or not codec.may_repeat_keys(text, value):
                return []
            written = diagnosis.parse_keeping_duplicates(text)
        return diagnosis.find_repeated(written)

    def _refused(self, problem: str) -> StatusError:
        api_version, kind = self._class.names
        return bad_request(f'{kind} in version "{api_version.rpartition("/")[2]}" cannot be handled as a {kind}: {problem}')
