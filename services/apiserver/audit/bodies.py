"""Objects of a request and its answer as JSON, for those levels that keep them; made when the line is written.

What cannot be read is left out: it was refused, and the refusal is in the line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import codec, envelope
from knarr.machinery.packing import json_of
from knarr.machinery.resources import Version
from knarr.machinery.yaml_text import yaml_documents
from services.apiserver.results import Page, Ref, Written


@dataclass(frozen=True, slots=True)
class Body:
    """``size_bytes`` is what is held for it; ``make`` may raise anything."""

    size_bytes: int
    make: Callable[[], bytes | None]


def sent(raw: bytes, media_type: str, message: type[Message] | None) -> Body:
    """What came by REST; ``message`` is what is expected there."""
    return Body(len(raw), lambda: _of_text(raw, media_type, message))


def answered(raw: bytes, media_type: str, version: Version | None) -> Body:
    """What leaves by REST about a resource."""
    return Body(len(raw), lambda: _of_answer(raw, media_type, version))


def packed(body: AnyMessage, ref: Ref) -> Body:
    """What came by gRPC."""
    version = ref.version
    subresource = version.subresource(ref.subresource) if ref.subresource else None
    message = version.body_of(subresource)

    def make() -> bytes:
        if message is version.message and not version.form.has_message:
            return json_of(body)
        return codec.to_json(message.FromString(body.value))

    return Body(len(body.value), make)


def result(found: object, ref: Ref) -> Body | None:
    """What the pipeline answers to who has no face that writes it."""
    if isinstance(found, Page):
        version, entries = ref.version, found.entries
        return Body(sum(len(entry.raw) for entry in entries), lambda: _list(version, [entry.served(version).json for entry in entries]))
    if not isinstance(found, Written):
        return None
    if found.entry is not None:
        entry = found.entry
        return Body(len(entry.raw), lambda: entry.served(ref.version).json)
    answer = found.answer
    return Body(answer.ByteSize(), lambda: codec.to_json(answer)) if answer is not None else None


def _list(version: Version, items: list[bytes]) -> bytes:
    head = b'{"kind":"%b","apiVersion":"%b","items":[' % (f"{version.kind}List".encode(), version.api_version.encode())
    return head + b",".join(items) + b"]}"


def _of_text(raw: bytes, media_type: str, message: type[Message] | None) -> bytes | None:
    if "protobuf" in media_type:
        return codec.to_json(message.FromString(envelope.unwrap(raw).raw)) if message is not None else None
    if "yaml" in media_type:
        documents = yaml_documents(raw)
        return orjson.dumps(documents[0]) if documents else None
    return orjson.dumps(orjson.loads(raw))


def _of_answer(raw: bytes, media_type: str, version: Version | None) -> bytes | None:
    if media_type.startswith("application/json"):
        bare = raw.rstrip()
        return bare if b"\n" not in bare else orjson.dumps(orjson.loads(bare))
    if "protobuf" not in media_type or version is None:
        return None
    unknown = envelope.unwrap(raw)
    kinds: dict[str, Any] = {"Status": meta.Status, version.kind: version.message, f"{version.kind}List": version.list_message}
    message = kinds.get(unknown.type_meta.kind)
    return codec.to_json(message.FromString(unknown.raw)) if message is not None else None
