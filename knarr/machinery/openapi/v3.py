"""OpenAPI v3: an index of documents, one for each group version besides those of discovery."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import orjson

from knarr.machinery.openapi import gnostic_v3, names, paths
from knarr.machinery.openapi.parameters import Parameter
from knarr.machinery.openapi.paths import WORDS, Operation, Path
from knarr.machinery.openapi.schemas import Json, Schemas
from knarr.machinery.resources import Registry
from knarr.machinery.version import GIT_VERSION

# A name and what it stands for: a path with its operations, or a schema.
Piece = tuple[str, Json]
TITLE = "Kubernetes"
HEAD: Json = {"openapi": "3.0.0", "info": {"title": TITLE, "version": GIT_VERSION}}
SECURITY = {"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header", "description": "A bearer token."}}


def index(registry: Registry) -> dict[str, tuple[str, str]]:
    """``api/v1`` or ``apis/apps/v1`` → group and version, for every group version that is served."""
    return {names.root_of(*pair).strip("/"): pair for pair in paths.pairs_of(registry)}


def others(registry: Registry) -> list[str]:
    """The names of the documents that are about no version: ``api``, ``apis``, ``apis/apps``, ``version``."""
    groups = sorted({f"apis/{group}" for group, _ in paths.pairs_of(registry) if group})
    return ["api", "apis", *groups, "version"]


def as_json(registry: Registry, name: str) -> Iterator[bytes]:
    """The document of a group version, or one of ``others``, a path or a schema at a time."""
    pair = index(registry).get(name)
    schemas = Schemas([pair] if pair is not None else ())
    yield orjson.dumps(HEAD)[:-1] + b',"paths":{'
    yield from entries((path.path, _path(path)) for path in _paths(registry, name, pair, schemas))
    yield b'},"components":{"schemas":{'
    yield from entries(sorted(schemas.found.items()))
    yield b'},"securitySchemes":' + orjson.dumps(SECURITY) + b"}}"


def as_protobuf(registry: Registry, name: str) -> Iterator[bytes]:
    """The same as an ``openapi.v3.Document``. Parts of one field that come apart are one field, as protobuf has it."""
    pair = index(registry).get(name)
    schemas = Schemas([pair] if pair is not None else ())
    yield gnostic_v3.document(HEAD)
    for path in _paths(registry, name, pair, schemas):
        yield gnostic_v3.document({"paths": {path.path: _path(path)}})
    for schema, one in sorted(schemas.found.items()):
        yield gnostic_v3.document({"components": {"schemas": {schema: one}}})
    yield gnostic_v3.document({"components": {"securitySchemes": SECURITY}})


def entries(found: Iterable[Piece]) -> Iterator[bytes]:
    """The members of a JSON object, one after another."""
    comma = b""
    for name, item in found:
        yield b"".join((comma, orjson.dumps(name), b":", orjson.dumps(item)))
        comma = b","


def _paths(registry: Registry, name: str, pair: tuple[str, str] | None, schemas: Schemas) -> Iterator[Path]:
    if pair is not None:
        served = (version for version in registry.versions if (version.group, version.version) == pair)
        yield from paths.of_versions(sorted(served, key=lambda version: version.resource.plural), schemas)
    yield from paths.of_discovery(registry, schemas, name)


def _path(path: Path) -> Json:
    found: Json = {operation.method: _operation(operation) for operation in path.operations}
    return {**found, "parameters": [_parameter(one) for one in path.parameters]} if path.parameters else found


def _parameter(parameter: Parameter) -> Json:
    found: Json = {"name": parameter.name, "in": parameter.place}
    if parameter.description:
        found["description"] = parameter.description
    if parameter.place == "path":
        found["required"] = True
    return {**found, "schema": {"type": parameter.type, "uniqueItems": True}}


def _operation(operation: Operation) -> Json:
    found: Json = {"tags": [operation.tag], "description": operation.description, "operationId": operation.identifier}
    if operation.parameters:
        found["parameters"] = [_parameter(one) for one in operation.parameters]
    if operation.body is not None:
        found["requestBody"] = {"content": {media: {"schema": operation.body} for media in operation.consumes}}
        if operation.body_required:
            found["requestBody"]["required"] = True
    content = {media: {"schema": operation.answer} for media in operation.produces}
    found["responses"] = {
        **{code: {"description": WORDS[code], "content": content} for code in operation.codes},
        "401": {"description": WORDS["401"]},
    }
    if operation.action:
        found |= {"x-kubernetes-action": operation.action, "x-kubernetes-group-version-kind": operation.kind}
    return found
