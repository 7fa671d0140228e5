"""Whether a schema may stand in a definition: it is structural, and its keywords make sense together. In Kubernetes' words.

The walk goes along the JSON form of the schema. What stands under allOf, anyOf, oneOf and not only restricts values: it may say nothing
about which fields there are (``_restriction``), and must speak of what the schema itself has (``_complete``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from knarr.machinery.custom.rules import compile_rules
from knarr.machinery.custom.schema import ABSENT, Schema
from knarr.machinery.custom.values import compile_pattern, compile_values
from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, Verbatim, forbidden, invalid, not_supported, required

Json = dict[str, Any]

TYPES = ("array", "boolean", "integer", "number", "object", "string")
META_FIELDS = ("metadata", "kind", "apiVersion")
JUNCTORS = ("allOf", "anyOf", "oneOf")
INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
# Keywords that OpenAPI knows and definitions may not use, with what is said of them.
UNSUPPORTED = {
    "id": "id is not supported",
    "additionalItems": "additionalItems is not supported",
    "patternProperties": "patternProperties is not supported",
    "definitions": "definitions is not supported",
    "dependencies": "dependencies is not supported",
    "$ref": "$ref is not supported",
}
# What a restriction may not say, with what it must be instead.
STRUCTURE = {
    "type": "must be empty to be structural",
    "additionalProperties": "must be undefined to be structural",
    "default": "must be undefined to be structural",
    "title": "must be empty to be structural",
    "description": "must be empty to be structural",
    "nullable": "must be false to be structural",
    "x-kubernetes-preserve-unknown-fields": "must be false to be structural",
    "x-kubernetes-embedded-resource": "must be false to be structural",
    "x-kubernetes-int-or-string": "must be false to be structural",
    "x-kubernetes-list-map-keys": "must be empty to be structural",
    "x-kubernetes-list-type": "must be undefined to be structural",
    "x-kubernetes-map-type": "must be undefined to be structural",
    "x-kubernetes-validations": "must be empty to be structural",
}
AT_ROOT_BESIDE_STATUS = (
    "Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems "
    "UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations"
)
# Their JSON names.
_BESIDE_STATUS = frozenset(name[0].lower() + name[1:] for name in AT_ROOT_BESIDE_STATUS.split()) | {
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a schema: ``level`` is root, item or field. ``no_defaults`` says why none may be here."""

    path: Path
    level: str = "root"
    no_defaults: str = ""
    in_metadata: bool = False

    def below(self, path: Path, level: str = "field", **more: Any) -> Place:
        return replace(self, path=path, level=level, **more)


def check_schema(source: Json, path: Path, *, has_status: bool) -> list[Cause]:
    """All that is wrong with the schema of a version."""
    causes: list[Cause] = []
    if has_status:
        causes += _beside_status(source, path)
    if source.get("nullable"):
        causes.append(forbidden(path.child("nullable"), "nullable cannot be true at the root"))
    if strange := sorted(set(source) & UNSUPPORTED.keys()):
        return causes + [forbidden(path.child(name), UNSUPPORTED[name]) for name in strange]
    causes += sorted(
        [*_structural(source, Place(path)), *_complete(source, source, path, path)], key=lambda cause: (cause.field, cause.message)
    )
    keywords = list(_keywords(source, Place(path)))
    if not causes and not keywords:
        causes += _defaults(source, path, root=True)
    if not causes and not keywords:
        compile_rules(source, path, causes, root=True)
    return causes + keywords


def _beside_status(source: Json, path: Path) -> list[Cause]:
    if source.get("type") not in (None, "object"):
        words = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
        return [invalid(path.child("type"), source["type"], words)]
    if set(source) - _BESIDE_STATUS:
        words = f"only [{AT_ROOT_BESIDE_STATUS}] fields are allowed at the root of the schema if the status subresource is enabled"
        return [invalid(path, Verbatim("{…}"), words)]
    return []


def _structural(source: Json, place: Place) -> Iterable[Cause]:
    path, sort = place.path, source.get("type", "")
    embedded, preserve = source.get("x-kubernetes-embedded-resource", False), source.get("x-kubernetes-preserve-unknown-fields", False)
    either = source.get("x-kubernetes-int-or-string", False)
    items, properties, additional = source.get("items"), source.get("properties", {}), source.get("additionalProperties")
    if sort == "array" and items is None:
        yield required(path.child("items"), "must be specified")
    if isinstance(items, dict):
        yield from _structural(items, place.below(path.child("items"), "item"))
    for name, inner in properties.items():
        yield from _structural(inner, place.below(path.child("properties").key(name)))
    if additional is not None:
        if place.level == "root":
            yield forbidden(path.child("additionalProperties"), "must not be used at the root")
        if isinstance(additional, dict):
            yield from _structural(additional, place.below(path.child("additionalProperties")))
        if embedded:
            yield forbidden(path.child("additionalProperties"), "must not be used if x-kubernetes-embedded-resource is set")
    if either and preserve:
        yield invalid(path.child("x-kubernetes-preserve-unknown-fields"), True, "must be false if x-kubernetes-int-or-string is true")
    if either and embedded:
        yield invalid(path.child("x-kubernetes-embedded-resource"), True, "must be false if x-kubernetes-int-or-string is true")
    yield from _restrictions(source, path, either=either)
    yield from _type(sort, place, embedded=embedded, free=either or preserve)
    yield from _metadata(source, place, embedded=embedded)
    if embedded and not preserve and not properties:
        words = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        yield required(path.child("properties"), words)


def _type(sort: str, place: Place, *, embedded: bool, free: bool) -> Iterable[Cause]:
    path = place.path.child("type")
    if embedded and sort != "object":
        words = "must be object if x-kubernetes-embedded-resource is true"
        yield invalid(path, sort, words) if sort else required(path, words)
    elif not sort and not free:
        where = {"root": "at the root", "item": "for specified array items", "field": "for specified object fields"}[place.level]
        yield required(path, f"must not be empty {where}")
    if place.level == "root" and sort and sort != "object":
        yield invalid(path, sort, "must be object at the root")


def _metadata(source: Json, place: Place, *, embedded: bool) -> Iterable[Cause]:
    """Of apiVersion, kind and metadata a schema may say hardly anything: every object has them."""
    properties = source.get("properties", {})
    if place.level != "root" and not embedded:
        return
    for name in ("kind", "apiVersion"):
        if name in properties and properties[name].get("type", "") != "string":
            yield invalid(place.path.child("properties").key(name).child("type"), properties[name].get("type", ""), "must be string")
    metadata = properties.get("metadata")
    if metadata is None:
        return
    path = place.path.child("properties").key("metadata")
    if metadata.get("type", "") != "object":
        yield invalid(path.child("type"), metadata.get("type", ""), "must be object")
    if place.level == "root":
        names = set(metadata.get("properties", {}))
        if set(metadata) - {"type", "properties", "description"} or not names <= {"name", "generateName"}:
            yield forbidden(path, "must not specify anything other than name and generateName, but metadata is implicitly specified")


def _restrictions(source: Json, path: Path, *, either: bool) -> Iterable[Cause]:
    """``either``: a number or a string, which is said once more in one of two ways that are allowed."""
    for junctor in JUNCTORS:
        for index, part in enumerate(source.get(junctor, [])):
            here = path.child(junctor).index(index)
            if either and junctor == "anyOf" and source["anyOf"] == INT_OR_STRING:
                continue
            skip = either and junctor == "allOf" and index == 0 and part.get("anyOf") == INT_OR_STRING
            yield from _restriction({key: value for key, value in part.items() if not (skip and key == "anyOf")}, here)
    if "not" in source:
        yield from _restriction(source["not"], path.child("not"))
    if pattern := source.get("pattern"):
        try:
            compile_pattern(pattern)
        except ValueError as error:
            words = f"must be a valid regular expression, but isn't: error parsing regexp: {error}"
            yield invalid(path.child("pattern"), pattern, words)


def _restriction(part: Json, path: Path) -> Iterable[Cause]:
    yield from _restrictions(part, path, either=False)
    if isinstance(part.get("items"), dict):
        yield from _restriction(part["items"], path.child("items"))
    for name, inner in part.get("properties", {}).items():
        yield from _restriction(inner, path.child("properties").key(name))
    yield from (forbidden(path.child(key), words) for key, words in STRUCTURE.items() if key in part)
    if "metadata" in part.get("properties", {}):
        yield forbidden(path.child("properties").key("metadata"), "must not be specified in a nested context")


def _complete(part: Json, source: Json | None, source_path: Path, path: Path) -> Iterable[Cause]:
    """What restrictions speak of must be there without them."""
    if source is None:
        yield required(source_path, f"because it is defined in {path}")
        return
    for junctor in JUNCTORS:
        for index, inner in enumerate(part.get(junctor, [])):
            yield from _complete_below(inner, source, source_path, path.child(junctor).index(index))
    if "not" in part:
        yield from _complete_below(part["not"], source, source_path, path.child("not"))


def _complete_below(part: Json, source: Json, source_path: Path, path: Path) -> Iterable[Cause]:
    yield from _complete(part, source, source_path, path)
    if isinstance(part.get("items"), dict):
        items = source.get("items")
        if items is None:
            yield required(source_path.child("items"), f"because it is defined in {path.child('items')}")
        else:
            yield from _complete_below(part["items"], items, source_path.child("items"), path.child("items"))
    for name, inner in part.get("properties", {}).items():
        here, there = source_path.child("properties").key(name), path.child("properties").key(name)
        found = source.get("properties", {}).get(name)
        if found is None:
            yield required(here, f"because it is defined in {there}")
        else:
            yield from _complete_below(inner, found, here, there)


def _keywords(source: Json, place: Place) -> Iterable[Cause]:
    """Which keywords there are, and which of them go together."""
    path = place.path
    yield from _single_keywords(source, place)
    additional, properties = source.get("additionalProperties"), source.get("properties", {})
    if additional is not None and properties and additional is not True:
        yield forbidden(path.child("additionalProperties"), "additionalProperties and properties are mutual exclusive")
    if isinstance(additional, dict):
        why = "inside additionalProperties applying to object metadata" if place.in_metadata else place.no_defaults
        yield from _keywords(additional, place.below(path.child("additionalProperties"), no_defaults=why))
    whole = place.level == "root" or source.get("x-kubernetes-embedded-resource", False)
    for name, inner in properties.items():
        more: dict[str, Any] = {}
        if whole and name in META_FIELDS:
            more = {"in_metadata": True, **({"no_defaults": f"in top-level {name}"} if place.level == "root" else {})}
        yield from _keywords(inner, place.below(path.child("properties").key(name), **more))
    for junctor in JUNCTORS:
        for index, part in enumerate(source.get(junctor, [])):
            yield from _keywords(part, place.below(path.child(junctor).index(index)))
    if "not" in source:
        yield from _keywords(source["not"], place.below(path.child("not")))
    if isinstance(source.get("items"), dict):
        yield from _keywords(source["items"], place.below(path.child("items"), "item"))
    yield from _list_keywords(source, path)


def _single_keywords(source: Json, place: Place) -> Iterable[Cause]:
    path, sort = place.path, source.get("type", "")
    if sort == "null":
        yield forbidden(path.child("type"), "type cannot be set to null, use nullable as an alternative")
    if sort and sort not in TYPES:
        yield not_supported(path.child("type"), sort, TYPES)
    if "default" in source and place.no_defaults:
        yield forbidden(path.child("default"), f"must not be set {place.no_defaults}")
    for name, words in UNSUPPORTED.items():
        if name in source:
            yield forbidden(path.child(name), words)
    if isinstance(source.get("items"), list):
        yield forbidden(path.child("items"), "items must be a schema object and not an array")
    if place.in_metadata and source.get("x-kubernetes-embedded-resource"):
        yield forbidden(path.child("x-kubernetes-embedded-resource"), "must not be used inside of resource meta")
    if source.get("uniqueItems"):
        yield forbidden(path.child("uniqueItems"), "uniqueItems cannot be set to true since the runtime complexity becomes quadratic")
    if source.get("x-kubernetes-preserve-unknown-fields") is False:
        yield invalid(path.child("x-kubernetes-preserve-unknown-fields"), False, "must be true or undefined")
    map_type = source.get("x-kubernetes-map-type")
    if map_type is not None:
        if sort != "object":
            words = "must be object if x-kubernetes-map-type is specified"
            yield invalid(path.child("type"), sort, words) if sort else required(path.child("type"), words)
        if map_type not in ("atomic", "granular"):
            yield not_supported(path.child("x-kubernetes-map-type"), map_type, ("atomic", "granular"))


def _list_keywords(source: Json, path: Path) -> Iterable[Cause]:
    kind, keys, items = source.get("x-kubernetes-list-type"), source.get("x-kubernetes-list-map-keys", []), source.get("items")
    sort = source.get("type", "")
    place, key_place = path.child("x-kubernetes-list-type"), path.child("x-kubernetes-list-map-keys")
    if kind is None:
        if keys:
            yield required(place, "must be map if x-kubernetes-list-map-keys is non-empty")
        return
    if sort != "array":
        words = "must be array if x-kubernetes-list-type is specified"
        yield invalid(path.child("type"), sort, words) if sort else required(path.child("type"), words)
    elif kind == "set" and isinstance(items, dict):
        yield from _set_items(items, path.child("items"))
    if kind not in ("atomic", "set", "map"):
        yield not_supported(place, kind, ("atomic", "set", "map"))
    if keys and kind != "map":
        yield invalid(place, kind, "must be map if x-kubernetes-list-map-keys is non-empty")
    if kind in ("set", "map") and isinstance(items, dict) and items.get("nullable"):
        yield forbidden(path.child("items", "nullable"), f"cannot be nullable when x-kubernetes-list-type is {kind}")
    if kind == "map":
        yield from _map_keys(keys, items, path, key_place)


def _set_items(items: Json, path: Path) -> Iterable[Cause]:
    words = "must be atomic as item of a list with x-kubernetes-list-type=set"
    if items.get("type") == "array" and items.get("x-kubernetes-list-type", "atomic") != "atomic":
        yield invalid(path.child("x-kubernetes-list-type"), items["x-kubernetes-list-type"], words)
    if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
        yield invalid(path.child("x-kubernetes-map-type"), items.get("x-kubernetes-map-type"), words)


def _map_keys(keys: list[str], items: Any, path: Path, key_place: Path) -> Iterable[Cause]:
    if not keys:
        yield required(key_place, "must not be empty if x-kubernetes-list-type is map")
    if items is None:
        yield required(path.child("items"), "must have a schema if x-kubernetes-list-type is map")
        return
    if items.get("type", "") != "object":
        yield invalid(path.child("items", "type"), items.get("type", ""), "must be object if parent array's x-kubernetes-list-type is map")
        return
    shown = Verbatim(orjson.dumps(keys).decode())
    for index, key in enumerate(keys):
        here = path.child("items", "properties").key(key)
        found = items.get("properties", {}).get(key)
        if found is None:
            yield invalid(key_place, shown, "entries must all be names of item properties")
        elif found.get("type") in ("array", "object"):
            yield invalid(here.child("type"), found["type"], "must be a scalar type if parent array's x-kubernetes-list-type is map")
        else:
            if key not in items.get("required", []) and "default" not in found:
                words = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
                yield required(here.child("default"), words)
            if found.get("nullable"):
                yield forbidden(here.child("nullable"), "this property is in x-kubernetes-list-map-keys, so it cannot be nullable")
        if key in keys[:index]:
            yield invalid(key_place, shown, "must not contain duplicate entries")


def _defaults(source: Mapping[str, Any], path: Path, *, root: bool = False) -> list[Cause]:
    """Defaults must be what the schema itself would take, and know."""
    causes: list[Cause] = []
    if source.get("default") is not None and not root:
        here = path.child("default")
        shown = orjson.dumps(source["default"])
        value = orjson.loads(shown)
        if isinstance(value, dict | list) and Schema(_holding(source)).prune({"value": value}, track=True):
            causes.append(invalid(here, Verbatim(shown.decode()), "must not have unknown fields"))
        else:
            compile_values(dict(source))(value, ABSENT, here, causes)
    for name, inner in source.get("properties", {}).items():
        causes += _defaults(inner, path.child("properties").key(name))
    if isinstance(source.get("items"), dict):
        causes += _defaults(source["items"], path.child("items"))
    return causes


def _holding(source: Mapping[str, Any]) -> Json:
    """The schema of an object with one field of this schema."""
    return {"type": "object", "properties": {"value": dict(source)}}
