"""Request bodies: JSON, YAML or protobuf to messages, with Kubernetes' words for what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import orjson
from google.protobuf.message import DecodeError, Message

from knarr.machinery import budget, codec
from knarr.machinery.codec import Decoded, UnknownFields
from knarr.machinery.diagnosis import without_duplicates
from knarr.machinery.envelope import MAGIC, unwrap
from knarr.machinery.errors import bad_request
from knarr.machinery.json_text import read_json
from knarr.machinery.resources import Version
from knarr.machinery.type_names import names_of
from knarr.machinery.yaml_text import yaml_documents
from services.apiserver.apply.entries import mark_reset
from services.apiserver.rest import negotiation
from services.apiserver.strategies.empty_lists import mark_empty

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Names:
    """What a body must be called where it says so: its kind, and one of its ``apiVersion`` s, of which the first is that of today."""

    api_versions: tuple[str, ...]
    kind: str

    @classmethod
    @lru_cache(maxsize=1024)
    def of(cls, names: tuple[str, str], formerly: tuple[str, ...] = ()) -> Names:
        return cls((names[0], *formerly), names[1])


def decode(message_type: type[M], body: bytes, content_type: bytes, unknown: UnknownFields, names: Names | None = None) -> Decoded[M]:
    """The message in a body, which goes by ``names`` (those of its type unless given).

    Raises BadRequest, UnsupportedMediaType.
    """
    names = names or Names.of(names_of(message_type))
    media_type = negotiation.body_type(content_type)
    if media_type == negotiation.PROTOBUF:
        return Decoded(_from_protobuf(message_type, body, names))
    if media_type == negotiation.YAML:
        return _from_yaml(message_type, body, unknown, names)
    return _from_json(message_type, body, unknown, names)


def decode_custom(version: Version, body: bytes, content_type: bytes, unknown: UnknownFields) -> Decoded[Any]:
    """The same for an object of a version that has no message. Raises BadRequest, UnsupportedMediaType."""
    media_type = negotiation.body_type(content_type)
    if media_type == negotiation.PROTOBUF:
        raise negotiation.unsupported_media_type((negotiation.JSON, negotiation.YAML))
    if media_type == negotiation.YAML:
        written = _load_yaml(body)
        _understand(written, Names.of(version.names))
        return version.form.from_json(without_duplicates(written), unknown, written=written)
    try:
        parsed, body = read_json(body)
    except orjson.JSONDecodeError:
        parsed = None
    if isinstance(parsed, dict):
        _understand(parsed, Names.of(version.names))
    return version.form.from_json(body, unknown, parsed)


def _from_json(message_type: type[M], body: bytes, unknown: UnknownFields, names: Names) -> Decoded[M]:
    try:
        parsed, body = read_json(body)
    except orjson.JSONDecodeError:
        parsed = None
    if parsed is None and body.strip() == b"null":  # That says nothing, and is no error in Kubernetes.
        body, parsed = b"{}", {}
    if isinstance(parsed, dict):
        _understand(parsed, names)
    return codec.from_json(message_type, body, unknown, parsed)


def _from_yaml(message_type: type[M], body: bytes, unknown: UnknownFields, names: Names) -> Decoded[M]:
    parsed = _load_yaml(body)
    _understand(parsed, names)
    return codec.from_json(message_type, without_duplicates(parsed), unknown, written=parsed)


def _load_yaml(body: bytes) -> dict[str, Any]:
    documents = yaml_documents(body)
    budget.check(documents)
    if len(documents) != 1:
        raise bad_request(f"error converting YAML to JSON: expected one document, got {len(documents)}")
    return documents[0]


def _from_protobuf(message_type: type[M], body: bytes, names: Names) -> M:
    kind = names.kind
    if not body:
        raise bad_request(f"the object provided is unrecognized (must be of type {kind}): the body is empty")
    if body[:4] != MAGIC:
        raise bad_request(
            f"the object provided is unrecognized (must be of type {kind}): "
            f"provided data does not appear to be a protobuf message, expected prefix {list(MAGIC)}"
        )
    try:
        unknown = unwrap(body)
        _check_type({"apiVersion": unknown.type_meta.api_version, "kind": unknown.type_meta.kind}, names)
        message = message_type.FromString(unknown.raw)
    except DecodeError as error:
        raise bad_request(f'{kind} in version "{_version(names.api_versions[0])}" cannot be handled as a {kind}: {error}') from None
    if len(body) > budget.MAX_VALUES:
        budget.check(codec.to_dict(message))
    # Go writes value structs also when they are empty; without them equal objects compare equal.
    return codec.as_from_json(message)


def _understand(parsed: dict[str, Any], names: Names) -> None:
    """What holds for every object that comes as JSON or YAML."""
    _check_type(parsed, names)
    mark_reset(parsed)
    mark_empty(parsed, names.api_versions[0], names.kind)


def _check_type(parsed: dict[str, Any], names: Names) -> None:
    """apiVersion and kind may be absent; when they are there, they must fit the URL."""
    api_version, kind = names.api_versions[0], names.kind
    found_version, found_kind = parsed.get("apiVersion") or api_version, parsed.get("kind") or kind
    if found_kind != kind:
        raise bad_request(
            f'{found_kind} in version "{_version(str(found_version))}" cannot be handled as a {kind}: '
            f"converting ({found_version}.{found_kind}) to ({api_version}.{kind}): unknown conversion"
        )
    if found_version not in names.api_versions and kind != "DeleteOptions":
        raise bad_request(f"the API version in the data ({found_version}) does not match the expected API version ({api_version})")


def _version(api_version: str) -> str:
    return api_version.rpartition("/")[2]
