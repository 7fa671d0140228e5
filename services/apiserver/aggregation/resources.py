"""What an extension API server says that it serves, read with suspicion. Pure.

Its APIResourceList is told on as it came when clients ask for it; for aggregated discovery it is written anew, and what makes no sense in
it is left out.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

Json = dict[str, Any]

# What more is said is left out: a group version of Kubernetes' own has some twenty resources.
MAX_RESOURCES = 1000
MAX_WORDS = 32
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?(/[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)?")
_WORD = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.]{0,252}")


class Lie(ValueError):
    """The answer is none to what was asked."""


def aggregated(body: bytes, group: str, version: str) -> list[Json]:
    """The resources of an APIResourceList as aggregated discovery has them, in the order of their names. Raises Lie."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Lie(f"the answer is no JSON: {error}") from None
    if not isinstance(found, dict) or found.get("kind") not in ("APIResourceList", None) or not isinstance(found.get("resources"), list):
        raise Lie("the answer is no APIResourceList")
    if found.get("groupVersion", f"{group}/{version}") != f"{group}/{version}":
        raise Lie(f"the answer is about {str(found['groupVersion'])[:100]!r} instead of {group}/{version}")
    made: dict[str, Json] = {}
    for entry in found["resources"][:MAX_RESOURCES]:
        if isinstance(entry, dict) and isinstance(entry.get("name"), str) and _NAME.fullmatch(entry["name"]):
            _take(made, entry, group, version)
    return [made[name] for name in sorted(made)]


def _take(made: dict[str, Json], entry: Json, group: str, version: str) -> None:
    name, _, subresource = entry["name"].partition("/")
    kind = {"group": _word(entry, "group") or group, "version": _word(entry, "version") or version, "kind": _word(entry, "kind")}
    scope = "Namespaced" if entry.get("namespaced") is True else "Cluster"
    if subresource:
        # One may come before its resource, or without.
        parent = made.setdefault(name, {"resource": name, "scope": scope, "singularResource": "", "verbs": []})
        parent.setdefault("subresources", []).append({"subresource": subresource, "responseKind": kind, "verbs": _words(entry, "verbs")})
        return
    found: Json = {
        "resource": name,
        "responseKind": kind,
        "scope": scope,
        "singularResource": _word(entry, "singularName"),
        "verbs": _words(entry, "verbs"),
    }
    for field in ("shortNames", "categories"):
        if words := _words(entry, field):
            found[field] = words
    if before := made.get(name, {}).get("subresources"):
        found["subresources"] = before
    made[name] = found


def _word(entry: Json, field: str) -> str:
    value = entry.get(field)
    return value if isinstance(value, str) and _WORD.fullmatch(value) else ""


def _words(entry: Json, field: str) -> list[str]:
    values = entry.get(field)
    if not isinstance(values, list):
        return []
    return [value for value in values[:MAX_WORDS] if isinstance(value, str) and _WORD.fullmatch(value)]
