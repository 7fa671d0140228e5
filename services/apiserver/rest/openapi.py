"""OpenAPI. /openapi/v3: an index of the group versions, and a document for each.

A document is made when it is first asked for; its hash is its ETag and stands in the index, so that
clients keep it.

/openapi/v2 defines nothing: clients then use the types that they were built with, and kubectl, which
turns to it for a List and for a kind that is not served, leaves the judgement to the server. Without
it kubectl would refuse both before it asks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property

import orjson

from knarr.machinery.resources import Registry
from knarr.machinery.version import GIT_VERSION
from services.apiserver.rest.objects import varint
from services.apiserver.rest.request import Request
from services.apiserver.rest.response import Response

Build = Callable[[str, str], dict[str, object]]
INDEX_PATH = "/openapi/v3"
V2_PATH = "/openapi/v2"
# What clients accept, and its name in an answer: the @ of the former may stand in no content type.
V2_ACCEPTED = b"application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
CACHEABLE = (b"cache-control", b"public")


_TITLE = "Kubernetes"
_V2_AS_JSON = orjson.dumps({"swagger": "2.0", "info": {"title": _TITLE, "version": GIT_VERSION}, "paths": {}})


def _protobuf_text(field: int, text: bytes) -> bytes:
    return b"".join((varint(field << 3 | 2), varint(len(text)), text))


# The same as gnostic's Document: swagger is field 1, info 2 (title 1, version 2), paths 8.
_V2_AS_PROTOBUF = b"".join(
    (
        _protobuf_text(1, b"2.0"),
        _protobuf_text(2, _protobuf_text(1, _TITLE.encode()) + _protobuf_text(2, GIT_VERSION.encode())),
        _protobuf_text(8, b""),
    )
)


class Document:
    """One OpenAPI document as bytes."""

    def __init__(self, build: Build, group: str, version: str) -> None:
        self._build = build
        self._group_version = (group, version)
        self.path = f"apis/{group}/{version}" if group else f"api/{version}"

    @cached_property
    def body(self) -> bytes:
        return orjson.dumps(self._build(*self._group_version))

    @cached_property
    def hash(self) -> str:
        return hashlib.sha256(self.body).hexdigest().upper()


class OpenApi:
    """``build`` makes the document of a group and version."""

    def __init__(self, registry: Registry, build: Build) -> None:
        pairs = sorted({(version.group, version.version) for version in registry.versions})
        self._documents = {document.path: document for document in (Document(build, *pair) for pair in pairs)}

    @property
    def paths(self) -> list[str]:
        """Every path that is answered."""
        return [V2_PATH, INDEX_PATH, *(f"{INDEX_PATH}/{path}" for path in self._documents)]

    def answer(self, request: Request) -> Response | None:
        """None for what is not there."""
        path = request.path.rstrip("/")
        if path == V2_PATH:
            protobuf = V2_ACCEPTED in request.headers.get(b"accept", b"").lower()
            return Response(_V2_AS_PROTOBUF, content_type=V2_PROTOBUF) if protobuf else Response(_V2_AS_JSON)
        if path == INDEX_PATH:
            return Response(self._index)
        document = self._documents.get(path.removeprefix(INDEX_PATH + "/"))
        if document is None:
            return None
        etag = f'"{document.hash}"'.encode()
        headers = [(b"etag", etag), CACHEABLE]
        if etag in request.headers.get(b"if-none-match", b""):
            return Response(b"", 304, headers=headers)
        return Response(document.body, headers=headers)

    @cached_property
    def _index(self) -> bytes:
        paths = {path: {"serverRelativeURL": f"{INDEX_PATH}/{path}?hash={document.hash}"} for path, document in self._documents.items()}
        return orjson.dumps({"paths": paths})
