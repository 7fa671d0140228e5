"""/openapi/v3: an index of the group versions, and a document for each.

A document is made when it is first asked for; its hash is its ETag and stands in the index, so that
clients keep it. There is no v2: clients then use the types that they were built with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property

import orjson

from knarr.machinery.kinds import Kinds
from services.apiserver.rest.request import Request
from services.apiserver.rest.response import Response

Build = Callable[[str, str], dict[str, object]]
INDEX_PATH = "/openapi/v3"
CACHEABLE = (b"cache-control", b"public")


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

    def __init__(self, kinds: Kinds, build: Build) -> None:
        pairs = sorted({(kind.group, kind.version) for kind in kinds})
        self._documents = {document.path: document for document in (Document(build, *pair) for pair in pairs)}

    @property
    def paths(self) -> list[str]:
        """Every path that is answered."""
        return [INDEX_PATH, *(f"{INDEX_PATH}/{path}" for path in self._documents)]

    def answer(self, request: Request) -> Response | None:
        """None for what is not there, /openapi/v2 among it."""
        path = request.path.rstrip("/")
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
