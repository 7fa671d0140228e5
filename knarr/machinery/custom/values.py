"""What values a schema allows, compiled once into functions, in the words of Kubernetes' validation of custom resources.

On an update what did not change is not judged again, wherever old and new can be told to be the same part: so an object stays writable
that was stored before its schema was made stricter (Kubernetes calls it ratcheting).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
import re2

from knarr.machinery.custom.formats import FORMATS
from knarr.machinery.custom.schema import ABSENT
from knarr.machinery.errors import Cause
from knarr.machinery.validation import Verbatim, invalid, not_supported, required, too_long, too_many

Json = Mapping[str, Any]
# A value, what it was before (ABSENT: nothing that is known), the path to it, and the causes to add to.
Check = Callable[[Any, Any, str, list[Cause]], None]
# So many causes of one object are told, of all schemas that it breaks.
MAX_CAUSES = 128
# What a pattern may make of memory; a larger one is refused with the schema.
PATTERN_BYTES = 4 * 1024 * 1024
IN = "in body"
COMPOSED = "<nil>"
# What every object has, and what is looked at elsewhere.
ENVELOPE = frozenset({"apiVersion", "kind", "metadata"})


def type_name(value: Any) -> str:
    """The OpenAPI type of a JSON value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return "integer"
    return {float: "number", str: "string", list: "array"}.get(type(value), "object")


def compile_pattern(pattern: str) -> Any:
    """A regular expression that takes time in the length of what it looks at alone. Raises ValueError."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = PATTERN_BYTES
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise ValueError(error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)) from None


def compile_values(source: Json, *, root: bool = False) -> Check:
    """The check of a schema. ``root``: of an object without its metadata, kind and apiVersion, which are looked at elsewhere."""
    if root:
        source = _without_envelope(source)
    checks = [make(source) for keys, make in _CHECKS if any(key in source for key in keys)]
    fields = _fields(source)
    nullable = source.get("nullable", False)
    if fields is not None:
        checks.append(fields)

    def check(value: Any, old: Any, path: str, causes: list[Cause]) -> None:
        if value is None and nullable:
            return
        if len(causes) >= MAX_CAUSES or (old is not ABSENT and same(value, old)):
            return
        for found in checks:
            found(value, old, path, causes)

    return check


def _without_envelope(source: Json) -> Json:
    """A schema that asks nothing of an object's envelope, nor do those that it is composed of."""
    found = dict(source)
    if "required" in found:
        found["required"] = [name for name in found["required"] if name not in ENVELOPE]
    if "properties" in found:
        found["properties"] = {name: field for name, field in found["properties"].items() if name not in ENVELOPE}
    for composed in ("allOf", "anyOf", "oneOf"):
        if composed in found:
            found[composed] = [_without_envelope(part) for part in found[composed]]
    if "not" in found:
        found["not"] = _without_envelope(found["not"])
    return found


def same(value: Any, old: Any) -> bool:
    """Whether two JSON values are the same; to Python true is 1."""
    if type(value) is not type(old) and not (isinstance(value, int | float) and isinstance(old, int | float)):
        return False
    if isinstance(value, bool) or isinstance(old, bool):
        return value is old
    if isinstance(value, dict):
        return value.keys() == old.keys() and all(same(item, old[name]) for name, item in value.items())
    if isinstance(value, list):
        return len(value) == len(old) and all(same(one, other) for one, other in zip(value, old, strict=True))
    return bool(value == old)


def _says(path: str, words: str) -> str:
    return f"{path} {IN} {words}"


def number_text(value: float) -> str:
    """A number as Go's %v shows it."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return f"{value:g}" if isinstance(value, float) and abs(value) < 1e21 and len(f"{value:g}") > len(repr(value)) else repr(value)


def _type(source: Json) -> Check:
    wanted = source.get("type", "")
    allowed: tuple[str, ...] = ("integer", "string") if source.get("x-kubernetes-int-or-string") else (wanted,)
    shown = ",".join(allowed)
    if wanted == "number":
        allowed = ("number", "integer")

    def check(value: Any, old: Any, path: str, causes: list[Cause]) -> None:
        if wanted or len(allowed) > 1:
            found = type_name(value)
            if found not in allowed:
                words = _says(path, f'must be of type {shown}: "{found}"')
                causes.append(Cause("FieldValueTypeInvalid", f'Invalid value: "{found}": {words}', path))

    return check


def _enum(source: Json) -> Check:
    choices: list[Any] = source["enum"]
    texts = [choice if isinstance(choice, str) else orjson.dumps(choice).decode() for choice in choices]

    def check(value: Any, old: Any, path: str, causes: list[Cause]) -> None:
        if not any(same(value, choice) for choice in choices):
            causes.append(not_supported(path, _shown(value), texts))

    return check


def _shown(value: Any) -> Any:
    """A value as it stands in an error: what is no string as JSON."""
    if isinstance(value, str):
        return value
    return Verbatim(orjson.dumps(value).decode() if value is not None else "null")


def _strings(source: Json) -> Check:
    longest, shortest = source.get("maxLength"), source.get("minLength", 0)
    pattern: str = source.get("pattern", "")
    matches = compile_pattern(pattern).search if pattern else None
    format_ = FORMATS.get(source.get("format", ""))

    def check(value: Any, old: Any, path: str, causes: list[Cause]) -> None:
        if not isinstance(value, str):
            return
        if longest is not None and len(value) > longest:
            causes.append(too_long(path, longest))
        if len(value) < shortest:
            causes.append(invalid(path, value, _says(path, f"should be at least {shortest} chars long")))
        if matches is not None and not matches(value):
            causes.append(invalid(path, value, _says(path, f"should match '{pattern}'")))
        if format_ is not None and not format_(value):
            words = _says(path, f'must be of type {source["format"]}: "{value}"')
            causes.append(Cause("FieldValueTypeInvalid", f'Invalid value: "{value}": {words}', path))

    return check


def _numbers(source: Json) -> Check:
    least, most, step = source.get("minimum"), source.get("maximum"), source.get("multipleOf")
    above, below = source.get("exclusiveMinimum", False), source.get("exclusiveMaximum", False)

    def check(value: Any, old: Any, path: str, causes: list[Cause]) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return
        shown = Verbatim(number_text(value))
        if most is not None and (value >= most if below else value > most):
            words = "should be less than" if below else "should be less than or equal to"
            causes.append(invalid(path, shown, _says(path, f"{words} {number_text(most)}")))
        if least is not None and (value <= least if above else value < least):
            words = "should be greater than" if above else "should be greater than or equal to"
            causes.append(invalid(path, shown, _says(path, f"{words} {number_text(least)}")))
        if step and not _is_multiple(value, step):
            causes.append(invalid(path, shown, _says(path, f"should be a multiple of {number_text(step)}")))

    return check


def _is_multiple(value: float, step: float) -> bool:
    if isinstance(value, int) and float(step).is_integer():
        return value % int(step) == 0
    quotient = value / step
    return math.isfinite(quotient) and quotient == int(quotient)


def _sizes(source: Json) -> Check:
    most_items, least_items = source.get("maxItems"), source.get("minItems", 0)
    most_fields, least_fields = source.get("maxProperties"), source.get("minProperties", 0)

    def check(value: Any, old: Any, path: str, causes: list[Cause]) -> None:
        if isinstance(value, list):
            if most_items is not None and len(value) > most_items:
                causes.append(too_many(path, len(value), most_items))
            if len(value) < least_items:
                causes.append(invalid(path, len(value), _says(path, f"should have at least {least_items} items")))
        elif isinstance(value, dict):
            if most_fields is not None and len(value) > most_fields:
                causes.append(too_many(path, len(value), most_fields))
            if len(value) < least_fields:
                causes.append(invalid(path, least_fields, _says(path, f"should have at least {least_fields} properties")))

    return check


def _required(source: Json) -> Check:
    names: list[str] = source["required"]

    def check(value: Any, old: Any, path: str, causes: list[Cause]) -> None:
        if isinstance(value, dict):
            causes += [required(f"{path}.{name}" if path else name) for name in names if name not in value]

    return check


def _fields(source: Json) -> Check | None:
    """What stands within: fields, elements and what more there is."""
    fields = {name: compile_values(found) for name, found in source.get("properties", {}).items()}
    more, items = source.get("additionalProperties"), source.get("items")
    other = compile_values(more) if isinstance(more, dict) else None
    element = compile_values(items) if isinstance(items, dict) else None
    keys = source.get("x-kubernetes-list-map-keys") if source.get("x-kubernetes-list-type") == "map" else None
    if not fields and other is None and element is None:
        return None

    def check(value: Any, old: Any, path: str, causes: list[Cause]) -> None:
        if isinstance(value, dict):
            known = old if isinstance(old, dict) else {}
            for name, item in value.items():
                inner = fields.get(name) or other
                if inner is not None:
                    inner(item, known.get(name, ABSENT), f"{path}.{name}" if path else name, causes)
        elif isinstance(value, list) and element is not None:
            elements = by_keys(old, keys) if keys and isinstance(old, list) else None
            for index, item in enumerate(value):
                before = elements.get(key_of(item, keys), ABSENT) if elements is not None and keys else ABSENT
                element(item, before, f"{path}[{index}]", causes)

    return check


def key_of(item: Any, keys: Sequence[str]) -> tuple[str, ...]:
    """What tells an element of a list map from the others; a number is not its text."""
    return tuple(orjson.dumps(item.get(key)).decode() for key in keys) if isinstance(item, dict) else ()


def by_keys(items: list[Any], keys: Sequence[str]) -> dict[tuple[str, ...], Any]:
    return {key_of(item, keys): item for item in items}


def _all_of(source: Json) -> Check:
    parts = [compile_values(part) for part in source["allOf"]]

    def check(value: Any, old: Any, path: str, causes: list[Cause]) -> None:
        before = len(causes)
        for part in parts:
            part(value, ABSENT, path, causes)
        if len(causes) > before:
            causes.insert(before, _composed(f'"{path}" must validate all the schemas (allOf)'))

    return check


def _any_of(source: Json) -> Check:
    parts = [compile_values(part) for part in source["anyOf"]]

    def check(value: Any, old: Any, path: str, causes: list[Cause]) -> None:
        failures = [found for part in parts if (found := _failures(part, value, path))]
        if len(failures) == len(parts):
            causes.append(_composed(f'"{path}" must validate at least one schema (anyOf)'))
            causes += _least(failures)

    return check


def _one_of(source: Json) -> Check:
    parts = [compile_values(part) for part in source["oneOf"]]

    def check(value: Any, old: Any, path: str, causes: list[Cause]) -> None:
        failures = [found for part in parts if (found := _failures(part, value, path))]
        valid = len(parts) - len(failures)
        if valid == 1:
            return
        words = "Found none valid" if not valid else f"Found {valid} valid alternatives"
        causes.append(_composed(f'"{path}" must validate one and only one schema (oneOf). {words}'))
        if not valid:
            causes += _least(failures)

    return check


def _not(source: Json) -> Check:
    inner = compile_values(source["not"])

    def check(value: Any, old: Any, path: str, causes: list[Cause]) -> None:
        if not _failures(inner, value, path):
            causes.append(_composed(f'"{path}" must not validate the schema (not)'))

    return check


def _least(failures: list[list[Cause]]) -> list[Cause]:
    """What is wrong with that which came nearest."""
    return min(failures, key=lambda found: len(found))


def _failures(check: Check, value: Any, path: str) -> list[Cause]:
    found: list[Cause] = []
    check(value, ABSENT, path, found)
    return found


def _composed(words: str) -> Cause:
    """Kubernetes names no field for these."""
    return Cause("FieldValueInvalid", f'Invalid value: "": {words}', COMPOSED)


_CHECKS: tuple[tuple[tuple[str, ...], Callable[[Json], Check]], ...] = (
    (("type", "x-kubernetes-int-or-string"), _type),
    (("enum",), _enum),
    (("maxLength", "minLength", "pattern", "format"), _strings),
    (("minimum", "maximum", "multipleOf"), _numbers),
    (("maxItems", "minItems", "maxProperties", "minProperties"), _sizes),
    (("required",), _required),
    (("allOf",), _all_of),
    (("anyOf",), _any_of),
    (("oneOf",), _one_of),
    (("not",), _not),
)
