"""OpenAPI v2: one document of everything, made in pieces, as JSON and as gnostic's protobuf.

It is v3 without what v2 cannot say: values of several forms, null, enumerations and defaults of built-in kinds, as in Kubernetes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import orjson

from knarr.machinery.openapi import gnostic, paths
from knarr.machinery.openapi.parameters import Parameter
from knarr.machinery.openapi.paths import WORDS, Operation, Path
from knarr.machinery.openapi.schemas import KINDS, REFERENCE, Json, Schemas
from knarr.machinery.openapi.v3 import SECURITY, TITLE, Piece, entries
from knarr.machinery.resources import Registry
from knarr.machinery.version import GIT_VERSION

V2_REFERENCE = "#/definitions/"
HEAD: Json = {"swagger": "2.0", "info": {"title": TITLE, "version": GIT_VERSION}}
TAIL: Json = {"securityDefinitions": SECURITY, "security": [{"BearerToken": []}]}
# Junctors say nothing to clients of v2, and a value of several forms is what its format says.
DROPPED = frozenset(("allOf", "anyOf", "oneOf", "not", "nullable", "example"))
DROPPED_BUILT_IN = DROPPED | {"enum", "default"}
UNKNOWN = "x-kubernetes-preserve-unknown-fields"


def pieces(registry: Registry, others: Sequence[Json] = ()) -> tuple[Iterator[Piece], Callable[[], Iterator[Piece]]]:
    """The paths, and what answers the schemas that they refer to, once all paths were taken.

    ``others`` are parts of other servers' documents; what is called as something that came before is left out.
    """
    schemas = Schemas(paths.pairs_of(registry))

    def found() -> Iterator[Piece]:
        for path in paths.of_discovery(registry, schemas):
            yield path.path, _path(path)
        served = sorted(registry.versions, key=lambda one: (one.group, one.version, one.resource.plural))
        for path in paths.of_versions(served, schemas):
            yield path.path, _path(path)

    def named() -> Iterator[Piece]:
        for name, one in sorted(schemas.found.items()):
            if name in schemas.custom:
                yield name, _open(one) if one.get(UNKNOWN) else schema(one, DROPPED)
            else:
                yield name, schema(one, DROPPED_BUILT_IN)

    return _joined(found(), others, "paths"), lambda: _joined(named(), others, "definitions")


def _joined(own: Iterable[Piece], others: Sequence[Json], part: str) -> Iterator[Piece]:
    told = set()
    for name, item in own:
        told.add(name)
        yield name, item
    for other in others:
        for name, item in other[part].items():
            if name not in told:
                told.add(name)
                yield name, item


def as_json(registry: Registry, others: Sequence[Json] = ()) -> Iterator[bytes]:
    """The document as JSON, a path or a schema at a time."""
    found, schemas = pieces(registry, others)
    yield orjson.dumps(HEAD)[:-1] + b',"paths":{'
    yield from entries(found)
    yield b'},"definitions":{'
    yield from entries(schemas())
    yield b"}," + orjson.dumps(TAIL)[1:]


def as_protobuf(registry: Registry, others: Sequence[Json] = ()) -> Iterator[bytes]:
    """The same as an ``openapi.v2.Document``. Parts of one field that come apart are one field, as protobuf has it.

    What of ``others`` has another form than the message is left out.
    """
    found, schemas = pieces(registry, others)
    yield gnostic.document(HEAD)
    for part, named in (("paths", found), ("definitions", schemas())):
        for name, item in named:
            try:
                yield gnostic.document({part: {name: item}})
            except (AttributeError, KeyError, TypeError, ValueError, struct.error):
                if not any(name in other[part] for other in others):
                    raise
    yield gnostic.document(TAIL)


def schema(found: Any, dropped: frozenset[str] = DROPPED_BUILT_IN) -> Any:
    """A schema of v3 as v2 has it, without what is ``dropped``."""
    if not isinstance(found, dict):
        return found
    if "$ref" in found:
        return {"$ref": V2_REFERENCE + found["$ref"].removeprefix(REFERENCE)}
    made = {name: value for name, value in found.items() if name not in dropped}
    alternatives: Sequence[Json] = found.get("allOf") or found.get("oneOf") or ()
    if len(alternatives) == 1 and "$ref" in alternatives[0]:
        return made | schema(alternatives[0])
    if alternatives and "type" not in made:
        # A quantity, or a number or string.
        made["type"] = "string"
    if found.get("x-kubernetes-int-or-string"):
        made |= {"type": "string", "format": "int-or-string"}
    if found.get("nullable") or found.get(UNKNOWN):
        # What is known of some of its fields would keep old clients from seeing the others.
        for name in ("type", "items", "properties"):
            made.pop(name, None)
    if made.get("type") == "array" and "items" not in made:
        del made["type"]
    return _with_parts(made, dropped)


def _open(found: Json) -> Json:
    """That of a custom resource that keeps what is not known: an object, and no field named, for old clients would refuse all others."""
    return {"type": "object"} | ({KINDS: found[KINDS]} if KINDS in found else {})


def _with_parts(made: Json, dropped: frozenset[str]) -> Json:
    if "properties" in made:
        made["properties"] = {name: schema(one, dropped) for name, one in made["properties"].items()}
        nullable = {name for name, one in made["properties"].items() if "type" not in one and "$ref" not in one}
        if "required" in made and nullable:
            made["required"] = [name for name in made["required"] if name not in nullable]
    if not made.get("required", True):
        del made["required"]
    if "items" in made:
        made["items"] = schema(made["items"], dropped)
    if isinstance(made.get("additionalProperties"), dict):
        made["additionalProperties"] = schema(made["additionalProperties"], dropped)
    return made


def _path(path: Path) -> Json:
    found: Json = {operation.method: _operation(operation) for operation in path.operations}
    return {**found, "parameters": [_parameter(one) for one in path.parameters]} if path.parameters else found


def _parameter(parameter: Parameter) -> Json:
    found: Json = {"uniqueItems": True, "type": parameter.type, "name": parameter.name, "in": parameter.place}
    if parameter.description:
        found["description"] = parameter.description
    return {**found, "required": True} if parameter.place == "path" else found


def _operation(operation: Operation) -> Json:
    taken = [_parameter(one) for one in operation.parameters]
    if operation.body is not None:
        body: Json = {"name": "body", "in": "body", "schema": schema(operation.body)}
        taken.insert(0, {**body, "required": True} if operation.body_required else body)
    answer = {"schema": schema(operation.answer)} if operation.answer is not None else {}
    found: Json = {
        "description": operation.description,
        "consumes": list(operation.consumes),
        "produces": list(operation.produces),
        "schemes": ["https"],
        "tags": [operation.tag],
        "operationId": operation.identifier,
        **({"parameters": taken} if taken else {}),
        "responses": {
            **{code: {"description": WORDS[code], **answer} for code in operation.codes},
            "401": {"description": WORDS["401"]},
        },
    }
    if operation.action:
        found |= {"x-kubernetes-action": operation.action, "x-kubernetes-group-version-kind": operation.kind}
    return found
