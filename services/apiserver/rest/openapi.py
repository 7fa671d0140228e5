"""OpenAPI: /openapi/v3, an index of the group versions and a document for each; /openapi/v2, one document as JSON and as protobuf.

A document is made when it is first asked for, piece by piece on the thread beside the loop, and kept compressed until what it describes
changes; the index of v3 names the hashes of its documents, so that clients keep them.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

from knarr.machinery.openapi import names, v2, v3
from knarr.machinery.openapi.upgrade import as_protobuf, upgraded
from knarr.machinery.resources import Registry, Resource
from knarr.service.accepting import accepts_gzip
from services.apiserver.aggregation.extension import Extension
from services.apiserver.aggregation.keeper import Aggregation
from services.apiserver.aside import in_turn
from services.apiserver.rest import negotiation
from services.apiserver.rest.request import Request
from services.apiserver.rest.response import REVALIDATED, Headers, Response

INDEX_PATH = "/openapi/v3"
V2_PATH = "/openapi/v2"
V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
# What older clients ask for; its @ may stand in no content type.
V2_PROTOBUF_BEFORE = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
V3_PROTOBUF = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
V3_PROTOBUF_BEFORE = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf"
V3_TYPES = (negotiation.JSON, V3_PROTOBUF, V3_PROTOBUF_BEFORE)
V2_TYPES = (negotiation.JSON, V2_PROTOBUF, V2_PROTOBUF_BEFORE)
VARY = (b"vary", b"Accept-Encoding, Accept")
FOR_EVER = (b"cache-control", b"public, immutable, max-age=31536000")
COMPRESSION_LEVEL = 6
# The keys of what is kept besides the documents of v3.
V2_JSON, V2_MESSAGE, INDEX = "v2", "v2 protobuf", "v3"
# What the key of a document of v3 as protobuf ends with.
AS_MESSAGE = " protobuf"


class Made(NamedTuple):
    """A document as it is kept; ``hash`` is that of what it holds."""

    compressed: bytes
    hash: str


class OpenApi:
    """Documents of what ``registry`` serves, also when that changes."""

    def __init__(self, registry: Registry, aggregation: Aggregation | None = None) -> None:
        self._registry, self._aggregation = registry, aggregation
        self._made: dict[str, Made] = {}
        # The names of what others serve, as it was told last.
        self._theirs: set[str] = set()
        self._changes = 0
        self._making = asyncio.Lock()
        registry.subscribe(self._forget)
        if aggregation is not None:
            aggregation.subscribe(self._forget_whole)

    @property
    def _extensions(self) -> list[Extension]:
        return [] if self._aggregation is None else [found for found in self._aggregation.extensions if found.available]

    def _told_by_v2(self) -> dict[str, dict[str, Any]]:
        """By the name of their document of v3, what those servers say in v2 that do not speak v3."""
        return {
            found.path.strip("/"): found.openapi_v2 for found in self._extensions if not found.openapi_url and found.openapi_v2 is not None
        }

    def elsewhere(self, path: str) -> Extension | None:
        """The server whose document of v3 a path names; None for one of this server's own."""
        there = None if self._aggregation is None else self._aggregation.at(path.removeprefix(INDEX_PATH))
        return there if there is not None and path == f"{INDEX_PATH}{there.path}" and there.openapi_url else None

    @property
    def paths(self) -> list[str]:
        """Every path that is answered."""
        return [V2_PATH, INDEX_PATH, *(f"{INDEX_PATH}/{name}" for name in self._names())]

    def _names(self) -> list[str]:
        return list(dict.fromkeys([*v3.index(self._registry), *v3.others(self._registry), *self._told_by_v2()]))

    async def answer(self, request: Request) -> Response | None:
        """None for what is not there. Raises NotAcceptable."""
        path = request.path.rstrip("/")
        if path == V2_PATH:
            media_type = negotiation.first_of(V2_TYPES, request.headers.get(b"accept", b""))
            key = V2_JSON if media_type == negotiation.JSON else V2_MESSAGE
            return await self._respond(request, key, negotiation.JSON if key == V2_JSON else V2_PROTOBUF)
        name = path.removeprefix(INDEX_PATH).removeprefix("/")
        if not path.startswith(INDEX_PATH) or (name and name not in self._names()):
            return None
        media_type = negotiation.first_of(V3_TYPES if name else (negotiation.JSON,), request.headers.get(b"accept", b""))
        if media_type == negotiation.JSON:
            return await self._respond(request, name or INDEX, negotiation.JSON)
        return await self._respond(request, name + AS_MESSAGE, V3_PROTOBUF)

    async def _respond(self, request: Request, key: str, media_type: str) -> Response:
        made = await self.document(key)
        etag = f'"{made.hash}"'
        headers: Headers = [(b"etag", etag.encode()), VARY]
        asked = request.query.text("hash")
        if asked and asked != made.hash:
            # What was named is no more: the client may keep what it finds at the present name.
            return Response(b"", 301, headers=[(b"location", _url(key, made).encode())])
        caching = FOR_EVER if asked else REVALIDATED
        if negotiation.knows(etag, request.headers.get(b"if-none-match", b"")):
            return Response(b"", 304, media_type, headers, caching)
        if accepts_gzip(request.headers.get(b"accept-encoding", b"")):
            return Response(made.compressed, 200, media_type, [*headers, (b"content-encoding", b"gzip")], caching)
        return Response(await in_turn(gzip.decompress, made.compressed), 200, media_type, headers, caching)

    async def document(self, key: str) -> Made:
        """The document as it is now; made once for all who ask at the same time."""
        found = self._made.get(key)
        if found is not None:
            return found
        if key == INDEX:
            return await self._index()
        async with self._making:
            if key in self._made:
                return self._made[key]
            changes = self._changes
            made = await in_turn(_make, self._pieces(key))
            if (name := _name_of(key)) != key:
                # Both forms go by one hash, which the index names.
                made = made._replace(hash=(await in_turn(_make, self._pieces(name))).hash)
            if changes == self._changes:
                self._made[key] = made
            return made

    async def _index(self) -> Made:
        changes, paths = self._changes, {}
        elsewhere = {extension.path.strip("/"): extension.openapi_url for extension in self._extensions}
        converted = self._told_by_v2()
        for name in self._names():
            if name not in elsewhere or name in converted:
                paths[name] = {"serverRelativeURL": _url(name, await self.document(name))}
        paths |= {name: {"serverRelativeURL": url} for name, url in elsewhere.items() if url}
        made = _make([orjson.dumps({"paths": paths})])
        if changes == self._changes:
            self._made[INDEX] = made
        return made

    def _pieces(self, key: str) -> Iterable[bytes]:
        registry = self._registry
        if key in (V2_JSON, V2_MESSAGE):
            others = [found.openapi_v2 for found in self._extensions if found.openapi_v2 is not None]
            return v2.as_json(registry, others) if key == V2_JSON else v2.as_protobuf(registry, others)
        name = _name_of(key)
        if (told := self._told_by_v2().get(name)) is not None:
            document = upgraded(told, v3.HEAD, v3.SECURITY)
            return [orjson.dumps(document)] if name == key else as_protobuf(document)
        return v3.as_json(registry, key) if name == key else v3.as_protobuf(registry, name)

    def _forget(self, old: Resource | None, new: Resource | None) -> None:
        """Drops what a change of the registry makes untrue."""
        self._changes += 1
        versions = {version for resource in (old, new) if resource is not None for version in resource.versions}
        touched = {names.root_of(version.group, version.version).strip("/") for version in versions}
        about_versions = v3.index(self._registry).keys() - touched
        self._made = {key: made for key, made in self._made.items() if _name_of(key) in about_versions}

    def _forget_whole(self) -> None:
        """Drops what is about everything: what others serve has changed."""
        self._changes += 1
        theirs = {found.path.strip("/") for found in self._extensions}
        about_versions = v3.index(self._registry).keys() - theirs - self._theirs
        self._made = {key: made for key, made in self._made.items() if _name_of(key) in about_versions}
        self._theirs = theirs


def _make(pieces: Iterable[bytes]) -> Made:
    """Compresses and counts a document as its pieces are made, so that it is never there as a whole."""
    squeeze, digest = zlib.compressobj(COMPRESSION_LEVEL, wbits=31), hashlib.sha512()
    parts = []
    for piece in pieces:
        digest.update(piece)
        parts.append(squeeze.compress(piece))
    parts.append(squeeze.flush())
    return Made(b"".join(parts), digest.hexdigest().upper())


def _name_of(key: str) -> str:
    """The name of a document of v3, in whichever form; other keys stay as they are."""
    return key if key == V2_MESSAGE else key.removesuffix(AS_MESSAGE)


def _url(key: str, made: Made) -> str:
    if key in (V2_JSON, V2_MESSAGE):
        return V2_PATH
    return INDEX_PATH if key == INDEX else f"{INDEX_PATH}/{_name_of(key)}?hash={made.hash}"
