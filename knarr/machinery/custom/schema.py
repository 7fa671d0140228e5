"""Structural schemas: what a version of a custom resource says of its objects, as a tree that content is walked along.

A node says which fields there are (what else comes is pruned) and what stands where nothing is given. What values must be like is
``values``' affair; both are made from the same OpenAPI v3 schema, in the JSON form that CustomResourceDefinitions have it in.
https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from knarr.machinery.custom.objects import TYPE_FIELDS

Json = dict[str, Any]

ABSENT: Final = object()
# So many pruned fields are named.
MAX_NAMED = 100
MAX_PATH_LETTERS = 1024


class Schema:
    """One node. ``properties`` and ``additional`` are for objects, ``items`` for lists; None where nothing is said."""

    __slots__ = ("additional", "default_json", "embedded", "has_defaults", "items", "nullable", "open", "preserve", "properties", "source")

    def __init__(self, source: Json, *, root: bool = False) -> None:
        self.source = source
        self.preserve: bool = source.get("x-kubernetes-preserve-unknown-fields", False)
        # What every object has is looked after elsewhere: nothing of it is pruned here.
        self.embedded: bool = source.get("x-kubernetes-embedded-resource", False) and not root
        self.nullable: bool = source.get("nullable", False)
        # A default as text: each object gets one of its own.
        self.default_json: bytes | None = orjson.dumps(source["default"]) if source.get("default") is not None else None
        own = source.get("properties", {})
        self.properties = {name: Schema(found) for name, found in own.items() if not (root and name in TYPE_FIELDS)}
        additional, items = source.get("additionalProperties"), source.get("items")
        self.additional = Schema(additional) if isinstance(additional, dict) else None
        # Any field is allowed, but nothing is said of what it holds.
        self.open = additional is True
        self.items = Schema(items) if isinstance(items, dict) else None
        below = [*self.properties.values(), *(found for found in (self.additional, self.items) if found is not None)]
        self.has_defaults: bool = any(found.has_defaults or found.default_json is not None for found in below)

    def prune(self, content: Json, *, track: bool = False) -> list[str]:
        """Drops the fields of an object's content that the schema does not know, and nulls where none may be. Answers the names of the
        former, in order, if they are to be ``track``-ed."""
        found: list[str] = []
        _prune(content, self, "", found if track else None)
        _drop_nulls(content, self)
        return sorted(found)

    def default(self, content: Json) -> None:
        """Fills in defaults."""
        if self.has_defaults:
            _default(content, self)

    def complete(self, content: Json) -> None:
        """Makes content that was stored under another schema as it is under this one."""
        self.prune(content)
        self.default(content)

    def is_complete(self, value: Json) -> bool:
        """Whether ``complete`` would change nothing of a whole object."""
        return _has_all(value, self, typed=True)


def default_of(schema: Schema) -> Any:
    return orjson.loads(schema.default_json) if schema.default_json is not None else None


# What is known of the fields of an object of which only is known that it may have any: nothing.
_NOTHING = Schema({})


def _inner(schema: Schema, name: str) -> Schema | None:
    """The schema of a field; None for a field that is not known."""
    found = schema.properties.get(name)
    if found is not None:
        return found
    return schema.additional or (_NOTHING if schema.open else None)


def _prune(value: Any, schema: Schema | None, path: str, named: list[str] | None, *, keep: bool = False) -> None:
    """``keep``: what is not known stays, as the list says in which the value stands."""
    keep = keep or (schema is not None and schema.preserve)
    if type(value) is dict:
        unknown: list[str] = []
        for name, item in value.items():
            if schema is not None and schema.embedded and name in TYPE_FIELDS:
                continue
            inner = _inner(schema, name) if schema is not None else None
            if inner is not None:
                if type(item) is dict or type(item) is list:
                    _prune(item, inner, f"{path}.{name}" if named is not None and path else name, named)
            elif not keep:
                unknown.append(name)
        for name in unknown:
            del value[name]
        if named is not None and len(named) < MAX_NAMED:
            named += [f"{path[:MAX_PATH_LETTERS]}.{name}" if path else name for name in unknown[:MAX_NAMED]]
    elif type(value) is list:
        items = schema.items if schema is not None else None
        if items is None and keep:
            return
        for index, item in enumerate(value):
            if type(item) is dict or type(item) is list:
                _prune(item, items, f"{path}[{index}]" if named is not None else "", named, keep=keep)


def _drop_nulls(value: Any, schema: Schema | None) -> None:
    """A null where none may be is as if nothing was given; what has a default gets it later."""
    if schema is None:
        return
    if type(value) is dict:
        gone: list[str] = []
        for name, item in value.items():
            inner = _inner(schema, name)
            if item is None:
                if inner is not None and inner is not _NOTHING and not inner.nullable and inner.default_json is None:
                    gone.append(name)
            elif inner is not None and (type(item) is dict or type(item) is list):
                _drop_nulls(item, inner)
        for name in gone:
            del value[name]
    elif type(value) is list and schema.items is not None:
        for item in value:
            if type(item) is dict or type(item) is list:
                _drop_nulls(item, schema.items)


def _default(value: Any, schema: Schema) -> None:
    if type(value) is dict:
        for name, inner in schema.properties.items():
            if inner.default_json is not None and (name not in value or (value[name] is None and not inner.nullable)):
                value[name] = orjson.loads(inner.default_json)
        for name, item in value.items():
            field = schema.properties.get(name) or schema.additional
            if field is None:
                continue
            if item is None and not field.nullable and field.default_json is not None:
                value[name] = item = default_of(field)
            if field.has_defaults:
                _default(item, field)
    elif type(value) is list and schema.items is not None:
        items = schema.items
        for index, item in enumerate(value):
            if item is None and not items.nullable:
                value[index] = item = default_of(items)
            if items.has_defaults:
                _default(item, items)


def _has_all(value: Json, schema: Schema, *, typed: bool) -> bool:
    """Whether an object has nothing to prune and every default; ``typed``: its type fields are its own affair."""
    for name, item in value.items():
        if typed and name in TYPE_FIELDS:
            continue
        inner = _inner(schema, name)
        if inner is None:
            if not schema.preserve:
                return False
        elif not _is_complete(item, inner):
            return False
    return not schema.has_defaults or all(name in value for name, inner in schema.properties.items() if inner.default_json is not None)


def _is_complete(value: Any, schema: Schema) -> bool:
    if value is None:
        return schema.nullable or schema is _NOTHING
    if type(value) is dict:
        return _has_all(value, schema, typed=schema.embedded)
    if type(value) is list and (schema.items is not None or not schema.preserve):
        return all(_is_complete(item, schema.items or _NOTHING) for item in value)
    return True
