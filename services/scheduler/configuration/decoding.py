"""Strict decoding of a document into dataclasses, whose fields say what may stand there.

A field ``pod_max_backoff_seconds`` is ``podMaxBackoffSeconds`` in the document, unless its metadata has a ``name``. Null is as good as
nothing. Unknown fields and values of a wrong type are problems with their paths; what is wrong does not hide what comes after it.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from google.protobuf.message import Message

from knarr.machinery import codec
from knarr.machinery.errors import Cause, StatusError
from knarr.machinery.forms import parse_duration
from knarr.machinery.validation import Path, invalid
from services.scheduler.seconds import Seconds

T = TypeVar("T")
INT32 = 2**31


class Problems:
    """What is wrong with a document."""

    def __init__(self) -> None:
        self.unknown: list[str] = []
        self.causes: list[Cause] = []

    def refuse(self) -> None:
        """Raises ValueError with all of it, if there is any."""
        found = [f"strict decoding error: {', '.join(self.unknown)}"] if self.unknown else []
        found += [f"{cause.field}: {cause.message}".removeprefix(": ") for cause in self.causes]
        if found:
            raise ValueError(found[0] if len(found) == 1 else f"[{', '.join(found)}]")


def decode(kind: type[T], found: Any, path: Path, problems: Problems, *beside: str) -> T:
    """An object of a dataclass; ``beside`` are fields that may be there, too, and are read elsewhere."""
    if not isinstance(found, Mapping):
        problems.causes.append(invalid(path, _shown(found), "must be a mapping"))
        return kind()
    fields = fields_of(kind)
    problems.unknown += [f'unknown field "{path.child(str(name))}"' for name in found if name not in fields and name not in beside]
    values = {}
    for name, (attribute, hint) in fields.items():
        if found.get(name) is not None:
            try:
                values[attribute] = _value(hint, found[name], path.child(name), problems)
            except _Wrong as wrong:
                problems.causes.append(wrong.cause)
    return kind(**values)


def fields_of(kind: type[Any]) -> Mapping[str, tuple[str, Any]]:
    """Attribute and type of a dataclass's fields by the name in documents."""
    hints = typing.get_type_hints(kind)
    return {field.metadata.get("name") or _camel(field.name): (field.name, hints[field.name]) for field in dataclasses.fields(kind)}


_WORDS: Mapping[Any, str] = {
    bool: "true or false",
    str: "a string",
    int: "an integer of 32 bits",
    float: "a number",
    bytes: "base64",
    Seconds: "a time like 5s",
}


class _Wrong(Exception):
    def __init__(self, path: Path, found: Any, detail: str) -> None:
        super().__init__(detail)
        self.cause = invalid(path, _shown(found), detail)


def _shown(found: Any) -> Any:
    return found if isinstance(found, str | int | bool) else str(found)


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


def _value(hint: Any, found: Any, path: Path, problems: Problems) -> Any:
    if isinstance(hint, types.UnionType):
        hint = next(one for one in typing.get_args(hint) if one is not types.NoneType)
    if typing.get_origin(hint) is tuple:
        if not isinstance(found, list):
            raise _Wrong(path, found, "must be a list")
        return tuple(_value(typing.get_args(hint)[0], item, path.index(at), problems) for at, item in enumerate(found))
    if dataclasses.is_dataclass(hint):
        return decode(cast("Any", hint), found, path, problems)
    if typing.get_origin(hint) is Mapping or hint is Mapping:
        if not isinstance(found, Mapping):
            raise _Wrong(path, found, "must be a mapping")
        return found
    if issubclass(hint, Message):
        return _message(hint, found, path, problems)
    return _scalar(hint, found, path)


def _scalar(hint: Any, found: Any, path: Path) -> Any:
    if (hint is bool and type(found) is bool) or (hint is str and type(found) is str):
        return found
    if hint is int and type(found) is int and -INT32 <= found < INT32:
        return found
    if hint is float and type(found) in (int, float):
        return float(found)
    if hint is bytes and type(found) is str:
        try:
            return base64.b64decode(found, validate=True)
        except binascii.Error:
            raise _Wrong(path, found, "must be base64") from None
    if hint is Seconds and type(found) is str:
        try:
            return parse_duration(found) / 1e9
        except ValueError as error:
            raise _Wrong(path, found, str(error)) from None
    raise _Wrong(path, found, f"must be {_WORDS[hint]}")


def _message(kind: type[Message], found: Any, path: Path, problems: Problems) -> Any:
    """A part that is the API's own, like a node affinity."""
    if not isinstance(found, dict):
        raise _Wrong(path, found, "must be a mapping")
    try:
        decoded = codec.from_json(kind, dict(found), codec.UnknownFields.WARN)
    except StatusError as error:
        raise _Wrong(path, kind.DESCRIPTOR.name, error.status.message) from None
    problems.unknown += [warning.replace('field "', f'field "{path}.', 1) for warning in decoded.warnings]
    return decoded.message
