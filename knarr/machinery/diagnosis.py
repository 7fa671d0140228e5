"""Says what is wrong with a JSON object, where, and in Kubernetes' words. Slow and only run when something is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from knarr.machinery import decoding, forms
from knarr.machinery.schema import INTEGERS, SCALARS, Field, Form, form_of, go_element_type, go_type, json_fields, schema_of
from knarr.machinery.type_names import api_version_and_kind

# So many unknown and repeated fields are named, and so much of the way to one.
MAX_STRAYS = 100
MAX_PATH_LETTERS = 1024
_LINE = "line "


class Duplicates(dict[str, Any]):
    """An object that remembers which of its keys came more than once: by name, or, one of YAML, by the lines of the later values."""

    repeated: tuple[str, ...] = ()
    lines: tuple[tuple[int, str], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Those keys, whatever it was read from."""
        return self.repeated or tuple(name for _, name in self.lines)


def without_duplicates(value: Any) -> Any:
    """The same of plain objects."""
    if isinstance(value, dict):
        return {name: without_duplicates(item) for name, item in value.items()}
    return [without_duplicates(item) for item in value] if isinstance(value, list) else value


def parse_keeping_duplicates(text: bytes) -> Any:
    """The JSON value, objects with repeated keys as ``Duplicates``."""

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = Duplicates(pairs)
        if len(found) != len(pairs):
            found.repeated = tuple(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        return found

    return json.loads(text, object_pairs_hook=build)


class Problem(Exception):
    """Why an object cannot be decoded; ``restored`` says it of values that were never text."""

    def __init__(self, words: str, restored: str = "") -> None:
        super().__init__(words)
        self.restored = restored or words


def find_problem(message: Descriptor, value: Any, *, restored: bool = False) -> str:
    """The first thing that is wrong with the types or values of a JSON value, or an empty string.

    ``restored`` asks for Kubernetes' words about values that come from a strategic merge patch, which are not read from JSON.
    """
    try:
        _check_message(message, value, "", "", None)
    except Problem as problem:
        return problem.restored if restored else str(problem)
    return ""


def _restored(value: Any, wanted: str, scalar: str) -> str:
    """``scalar`` is the sort of what is wanted where that is neither a list nor a map nor a message."""
    given = {bool: "bool", str: "string", list: "slice", int: "int64", float: "float64"}.get(type(value), "map")
    if wanted.startswith("map["):
        return f"cannot restore map from {given}"
    if wanted.startswith("[]"):
        return f"cannot restore slice from {given}"
    if not scalar:
        return f"cannot restore struct from: {given}"
    # What Go's conversion would do, and JSON does not.
    convertible = {"int64": ("string", "int32", "int64"), "float64": ("int32", "int64")}.get(given, ())
    return f"cannot convert {given} to {wanted}" if scalar in convertible else f"unrecognized type: {scalar}"


def _wrong(value: Any, owner: str, names: str, wanted: str, scalar: str = "") -> Problem:
    sort = {bool: "bool", str: "string", list: "array", int: "number", float: "number"}.get(type(value), "object")
    if sort == "number" and wanted.startswith(("int", "uint")):
        sort = f"number {json.dumps(value)}"
    place = f"struct field {owner}.{names}" if names else "value"
    return Problem(f"json: cannot unmarshal {sort} into Go {place} of type {wanted}", _restored(value, wanted, scalar))


def _check_message(message: Descriptor, value: Any, names: str, path: str, field: Field | None) -> None:
    form = form_of(message)
    if form != Form.JSON_FORM_UNSPECIFIED:
        _check_form(message, value, names, path, form)
        return
    if not isinstance(value, dict):
        raise _wrong(value, message.name, names, f"v1.{message.name}")
    fields = json_fields(message)
    typed = api_version_and_kind(message) is not None
    for name, item in value.items():
        deeper = f"{names}.{name}" if names else name
        if item is None:
            continue
        if name in fields:
            _check_field(message, fields[name][1], item, deeper, _below(path, f".{name}" if path else name))
        elif typed and name in ("apiVersion", "kind") and not isinstance(item, str):
            raise _wrong(item, message.name, deeper, "string")


def _check_field(owner: Descriptor, field: Field, value: Any, names: str, path: str) -> None:
    items: Iterator[tuple[str, Any]]
    if field.is_list:
        if not isinstance(value, list):
            raise _wrong(value, owner.name, names, go_type(field))
        items = ((_below(path, f"[{index}]"), item) for index, item in enumerate(value))
    elif field.is_map:
        if not isinstance(value, dict):
            raise _wrong(value, owner.name, names, go_type(field))
        items = ((_below(path, f"[{key}]"), item) for key, item in value.items())
    else:
        items = iter([(path, value)])
    for place, item in items:
        if item is None:
            continue
        if field.message is None:
            _check_scalar(owner, field, item, names, place)
        elif form_of(field.message) == Form.JSON_FORM_UNSPECIFIED and not isinstance(item, dict):
            raise _wrong(item, owner.name, names, go_element_type(field))
        else:
            _check_message(field.message, item, names, place, field)


def _check_scalar(owner: Descriptor, field: Field, value: Any, names: str, path: str) -> None:
    kind = field.element.type
    wanted = go_element_type(field)
    if kind == FieldDescriptor.TYPE_STRING:
        good = isinstance(value, str)
    elif kind == FieldDescriptor.TYPE_BOOL:
        good = isinstance(value, bool)
    elif kind in INTEGERS:
        bits = 31 if SCALARS[kind].endswith("32") else 63
        good = type(value) is int and -(2**bits) <= value < 2**bits
    elif kind == FieldDescriptor.TYPE_BYTES:
        good = isinstance(value, str)
        if good:
            try:
                decoding.read_bytes(value)
            except ValueError as error:
                raise Problem(f"{path}: {error}") from None
    else:
        good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good:
        raise _wrong(value, owner.name, names, wanted, SCALARS[kind])


def _check_form(message: Descriptor, value: Any, names: str, path: str, form: int) -> None:
    reader = decoding.direct_reader(message)
    if reader is not None:
        try:
            # Without its memory, which takes neither lists nor objects.
            getattr(reader, "__wrapped__", reader)(value)
        except forms.WrongType as error:
            raise Problem(f"{path}: {_wrong(value, '', '', error.go_type)}") from None
        except decoding.MALFORMED as error:
            raise Problem(f"{path}: {error}") from None
        if form == Form.JSON_FORM_LIST and any(item is not None and not isinstance(item, str) for item in value):
            raise Problem(f"{path}: {_wrong(next(item for item in value if not isinstance(item, str)), '', '', 'string')}")
        return
    schema = schema_of(message)
    if isinstance(value, bool) and form == Form.JSON_FORM_SCHEMA_OR_BOOL:
        return
    if isinstance(value, list) and form != Form.JSON_FORM_SCHEMA_OR_BOOL:
        for index, item in enumerate(value):
            if form == Form.JSON_FORM_SCHEMA_OR_ARRAY and item is not None:
                _check_message(schema, item, names, f"{path}[{index}]", None)
            elif form == Form.JSON_FORM_SCHEMA_OR_STRING_ARRAY and not isinstance(item, str):
                raise _wrong(item, message.name, names, "string")
        return
    _check_message(schema, value, names, path, None)


def find_strays(message: Descriptor, value: Any) -> list[str]:
    """``unknown field "spec.foo"`` and ``duplicate field "spec.bar"`` for a well-formed JSON value, in its order.

    What YAML repeats stands before that: ``line 3: key "bar" already set in map``.
    """
    found = _repeated_lines(value)
    _stray(message, value, "", found)
    return found


def find_repeated(value: Any) -> list[str]:
    """``duplicate field "spec.bar"`` for a value that keeps its ``Duplicates``, whatever its fields are; of YAML the line."""
    found = _repeated_lines(value)
    _repeated(value, "", found)
    return found


def strict_words(strays: Sequence[str]) -> str:
    """What ``find_strays`` or ``find_repeated`` found, as it stands in an error: what YAML repeats is one part of it."""
    lines = [stray for stray in strays if stray.startswith(_LINE)]
    others = list(strays[len(lines) :])
    return ", ".join(["\n  ".join(["yaml: unmarshal errors:", *lines]), *others] if lines else others)


def _repeated_lines(value: Any) -> list[str]:
    found: list[tuple[int, str]] = []
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, Duplicates):
            found += item.lines
        left += item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
    return [f"{_LINE}{line}: key {json.dumps(key, ensure_ascii=False)} already set in map" for line, key in sorted(set(found))[:MAX_STRAYS]]


def _repeated(value: Any, path: str, found: list[str]) -> None:
    if len(found) >= MAX_STRAYS:
        return
    if isinstance(value, list):
        for index, item in enumerate(value):
            _repeated(item, _below(path, f"[{index}]"), found)
    elif isinstance(value, dict):
        if isinstance(value, Duplicates):
            found += [f'duplicate field "{_below(path, f".{key}" if path else key)}"' for key in value.repeated[:MAX_STRAYS]]
        for key, item in value.items():
            _repeated(item, _below(path, f".{key}" if path else key), found)


def _below(path: str, part: str) -> str:
    """A path with a further part; the beginning of one that grows too long is left out."""
    path = f"{path}{part}"
    return path if len(path) <= MAX_PATH_LETTERS else f"…{path[-MAX_PATH_LETTERS:]}"


def _stray(message: Descriptor, value: Any, path: str, found: list[str]) -> None:
    if len(found) >= MAX_STRAYS:
        return
    if isinstance(value, list):
        for index, item in enumerate(value):
            _stray(message, item, _below(path, f"[{index}]"), found)
        return
    form = form_of(message)
    if form in (Form.JSON_FORM_SCHEMA_OR_ARRAY, Form.JSON_FORM_SCHEMA_OR_BOOL, Form.JSON_FORM_SCHEMA_OR_STRING_ARRAY):
        _stray(schema_of(message), value, path, found)
        return
    if not isinstance(value, dict) or form != Form.JSON_FORM_UNSPECIFIED:
        return
    fields = json_fields(message)
    typed = api_version_and_kind(message) is not None
    repeated = value.repeated if isinstance(value, Duplicates) else ()
    for name, item in value.items():
        if len(found) >= MAX_STRAYS:
            return
        deeper = _below(path, f".{name}" if path else name)
        if name not in fields and not (typed and name in ("apiVersion", "kind")):
            found.append(f'unknown field "{deeper}"')
            continue
        if name in repeated:
            found.append(f'duplicate field "{deeper}"')
        if name in fields:
            _stray_field(fields[name][1], item, deeper, found)


def _stray_field(field: Field, value: Any, path: str, found: list[str]) -> None:
    if field.is_map and isinstance(value, dict):
        if isinstance(value, Duplicates):
            found += [f'duplicate field "{_below(path, f".{key}")}"' for key in value.repeated[:MAX_STRAYS]]
        if field.message is not None:
            for key, item in value.items():
                _stray(field.message, item, _below(path, f".{key}"), found)
    elif field.message is not None:
        _stray(field.message, value, path, found)
