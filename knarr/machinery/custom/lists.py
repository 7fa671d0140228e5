"""Lists that are sets or maps: no element, or no key, comes twice."""

from __future__ import annotations

from typing import Any

import orjson

from knarr.machinery.custom.schema import Schema
from knarr.machinery.custom.values import MAX_CAUSES, key_of
from knarr.machinery.errors import Cause
from knarr.machinery.validation import Verbatim, duplicate, invalid


def has_unique_lists(schema: Schema) -> bool:
    """Whether there is anything to look for."""
    if schema.source.get("x-kubernetes-list-type") in ("set", "map"):
        return True
    below = [*schema.properties.values(), *(found for found in (schema.additional, schema.items) if found is not None)]
    return any(has_unique_lists(found) for found in below)


def check_lists(value: Any, schema: Schema, path: str, causes: list[Cause]) -> None:
    """Adds a cause for the first repetition of each element or key."""
    if len(causes) >= MAX_CAUSES:
        return
    if isinstance(value, dict):
        for name, item in value.items():
            inner = schema.properties.get(name)
            if inner is not None:
                check_lists(item, inner, f"{path}.{name}" if path else name, causes)
            elif schema.additional is not None:
                check_lists(item, schema.additional, f"{path}[{name}]", causes)
    elif isinstance(value, list):
        causes += _repeated(value, schema.source, path)
        if schema.items is not None:
            for index, item in enumerate(value):
                check_lists(item, schema.items, f"{path}[{index}]", causes)


def _repeated(items: list[Any], source: dict[str, Any], path: str) -> list[Cause]:
    kind = source.get("x-kubernetes-list-type")
    if kind not in ("set", "map"):
        return []
    keys = source.get("x-kubernetes-list-map-keys", []) if kind == "map" else []
    if kind == "map":
        for index, item in enumerate(items):
            if item is not None and not isinstance(item, dict):
                return [invalid(f"{path}[{index}]", _shown(item), "must be an object for an array of list-type map")]
    seen: dict[object, int] = {}
    causes: list[Cause] = []
    for index, item in enumerate(items):
        key: object = key_of(item, keys) if kind == "map" else orjson.dumps(item, option=orjson.OPT_SORT_KEYS)
        seen[key] = seen.get(key, 0) + 1
        if seen[key] == 2:
            shown = {name: item[name] for name in keys if name in item} if kind == "map" and isinstance(item, dict) else item
            causes.append(duplicate(f"{path}[{index}]", _shown(shown)))
    return causes[:MAX_CAUSES]


def _shown(value: Any) -> Any:
    return value if isinstance(value, str) else Verbatim(orjson.dumps(value).decode())
