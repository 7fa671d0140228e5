"""A document of OpenAPI v2 that somebody else wrote, as one of v3: older extension API servers have no other. Pure.

Of what is not as the specification has it, the path or the schema is left out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from knarr.machinery.openapi import gnostic_v3
from knarr.machinery.openapi.schemas import REFERENCE, Json
from knarr.machinery.openapi.v2 import V2_REFERENCE

JSON = "application/json"
METHODS = frozenset(("get", "put", "post", "delete", "options", "head", "patch"))
# What a parameter of v2 says besides its schema.
_OWN = ("name", "in", "description", "required")


def upgraded(document: Json, head: Json, security: Json) -> Json:
    """``document`` has ``paths`` and ``definitions``; its nesting is bounded by whoever took it."""
    schemas = dict(_kept(document["definitions"], _schema))
    components = {"schemas": schemas, "securitySchemes": security}
    return {**head, "paths": dict(_kept(document["paths"], _path)), "components": components}


def as_protobuf(document: Json) -> Iterator[bytes]:
    """What ``upgraded`` made as an ``openapi.v3.Document``; what the message cannot hold is left out."""
    components = document["components"]
    yield gnostic_v3.document({name: value for name, value in document.items() if name not in ("paths", "components")})
    for name, item in document["paths"].items():
        yield from _written({"paths": {name: item}})
    for name, item in components["schemas"].items():
        yield from _written({"components": {"schemas": {name: item}}})
    yield gnostic_v3.document({"components": {"securitySchemes": components["securitySchemes"]}})


def _written(part: Json) -> Iterator[bytes]:
    try:
        yield gnostic_v3.document(part)
    except (AttributeError, KeyError, TypeError, ValueError, struct.error):
        return


def _kept(found: Json, make: Any) -> Iterator[tuple[str, Any]]:
    for name, item in found.items():
        try:
            yield name, make(item)
        except (AttributeError, KeyError, TypeError, ValueError):
            continue


def _schema(found: Any) -> Any:
    """With references to where v3 has them. Raises TypeError for what is no schema."""
    if not isinstance(found, dict):
        raise TypeError
    return _moved(found)


def _moved(value: Any) -> Any:
    if isinstance(value, list):
        return [_moved(item) for item in value]
    if not isinstance(value, dict):
        return value
    reference = value.get("$ref")
    if isinstance(reference, str) and reference.startswith(V2_REFERENCE):
        return {"$ref": REFERENCE + reference.removeprefix(V2_REFERENCE)}
    return {name: _moved(item) for name, item in value.items()}


def _path(found: Json) -> Json:
    made: Json = {method: _operation(one) for method, one in found.items() if method in METHODS}
    if parameters := [_parameter(one) for one in found.get("parameters", ()) if one["in"] in ("path", "query", "header")]:
        made["parameters"] = parameters
    return made


def _operation(found: Json) -> Json:
    """The body is no parameter any more, and each answer says its types."""
    made = {name: value for name, value in found.items() if name not in ("parameters", "responses", "consumes", "produces", "schemes")}
    given = found.get("parameters", ())
    if parameters := [_parameter(one) for one in given if one["in"] in ("path", "query", "header")]:
        made["parameters"] = parameters
    for body in (one for one in given if one["in"] == "body"):
        content = {media: {"schema": _schema(body["schema"])} for media in _types(found.get("consumes"))}
        made["requestBody"] = {"content": content, **({"required": True} if body.get("required") is True else {})}
    made["responses"] = {code: _response(one, _types(found.get("produces"))) for code, one in found.get("responses", {}).items()}
    return made


def _parameter(found: Json) -> Json:
    own = {name: found[name] for name in _OWN if name in found}
    return {**own, "schema": _moved({name: value for name, value in found.items() if name not in _OWN and not name.startswith("x-")})}


def _response(found: Json, media_types: list[str]) -> Json:
    made: Json = {"description": found.get("description", "")}
    if "schema" in found:
        made["content"] = {media: {"schema": _schema(found["schema"])} for media in media_types}
    return made


def _types(found: Any) -> list[str]:
    """Anything goes where nothing is said, which is told as JSON."""
    named = [media for media in found or () if isinstance(media, str) and media != "*/*"]
    return named or [JSON]
