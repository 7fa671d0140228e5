"""What an extension API server says of itself in OpenAPI: where its document of v3 is, and what of its document of v2 is its own."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from services.apiserver.aggregation.extension import Extension
from services.apiserver.aggregation.fetch import Fetched, NotFetched
from services.apiserver.aside import aside

log = logging.getLogger(__name__)

Json = dict[str, Any]
Fetch = Callable[[str, int], Awaitable[Fetched]]

INDEX_PATH, V2_PATH = "/openapi/v3", "/openapi/v2"
INDEX_BYTES = 256 * 1024
# A document of v2: that of a server with some ten kinds has some 500 KB.
V2_BYTES = 4 * 1024 * 1024
MAX_URL_LETTERS = 512
MAX_DEFINITIONS, MAX_PATHS, MAX_DEPTH = 1000, 1000, 50
REFERENCE, PARAMETER = "#/definitions/", "#/parameters/"


async def learn_openapi(extension: Extension, fetch: Fetch) -> bool:
    """Asks for both; whether there is something to be told anew. What cannot be had stays as it was."""
    before = extension.openapi_url, extension.openapi_v2
    try:
        answer = await fetch(INDEX_PATH, INDEX_BYTES)
        extension.openapi_url = _url(answer.body, extension) if answer.status == 200 else ""
        if before == (extension.openapi_url, extension.openapi_v2) and extension.openapi_url and extension.openapi_v2 is not None:
            return False  # its hash is what it was
        answer = await fetch(V2_PATH, V2_BYTES)
        extension.openapi_v2 = await aside(len(answer.body), own_part, answer.body, extension.path) if answer.status == 200 else None
    except (NotFetched, OSError) as error:
        log.info("an extension API server says nothing of its schemas: %s", error, extra={"apiservice": extension.name})
    return before != (extension.openapi_url, extension.openapi_v2)


def _url(body: bytes, extension: Extension) -> str:
    """Where the index says that the document of the group version is; empty where it says nothing that can be used."""
    found = _parsed(body)
    entry = found.get("paths", {}).get(extension.path.strip("/")) if isinstance(found.get("paths"), dict) else None
    url = entry.get("serverRelativeURL") if isinstance(entry, dict) else None
    here = f"{INDEX_PATH}{extension.path}"
    if not isinstance(url, str) or len(url) > MAX_URL_LETTERS or not url.isprintable() or url.partition("?")[0] != here:
        return ""
    return url


def own_part(body: bytes, path: str) -> Json | None:
    """The paths of a document of v2 that lie below ``path``, and the definitions that they need; None where there are none.

    What is not of a document's form would take clients the whole of ours: then there is nothing.
    """
    found = _parsed(body)
    paths, definitions = found.get("paths"), found.get("definitions")
    if not isinstance(paths, dict) or not isinstance(definitions, dict):
        return None
    shared = found.get("parameters")
    own = {
        name: _spelt_out(item, shared if isinstance(shared, dict) else {})
        for name, item in paths.items()
        if f"{name}/".startswith(f"{path}/") and isinstance(item, dict)
    }
    needed: Json = {}
    try:
        waiting = [name for item in own.values() for name in _references(item)]
        while waiting:
            name = waiting.pop()
            if name in needed or not isinstance(definitions.get(name), dict):
                continue
            needed[name] = definitions[name]
            waiting += _references(definitions[name])
    except RecursionError:
        return None
    if not own or len(own) > MAX_PATHS or len(needed) > MAX_DEFINITIONS:
        return None
    return {"paths": own, "definitions": needed}


def _spelt_out(item: Json, shared: Json) -> Json:
    """A path with the parameters that its document says once for all: they are not among what is taken of it."""

    def given(part: Any) -> Any:
        if not isinstance(part, dict) or not isinstance(part.get("parameters"), list):
            return part
        named = (one.get("$ref") if isinstance(one, dict) else None for one in part["parameters"])
        found = [
            shared.get(name.removeprefix(PARAMETER)) if isinstance(name, str) and name.startswith(PARAMETER) else one
            for name, one in zip(named, part["parameters"], strict=True)
        ]
        return {**part, "parameters": [one for one in found if isinstance(one, dict)]}

    return {method: given(part) for method, part in given(item).items()}


def _references(value: Any, depth: int = 0) -> list[str]:
    """Raises RecursionError beyond ``MAX_DEPTH``."""
    if depth > MAX_DEPTH:
        raise RecursionError
    if isinstance(value, list):
        return [name for item in value for name in _references(item, depth + 1)]
    if not isinstance(value, dict):
        return []
    found = [name for item in value.values() for name in _references(item, depth + 1)]
    reference = value.get("$ref")
    if isinstance(reference, str) and reference.startswith(REFERENCE):
        found.append(reference.removeprefix(REFERENCE))
    return found


def _parsed(body: bytes) -> Json:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
