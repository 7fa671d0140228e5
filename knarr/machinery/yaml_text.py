"""YAML text → JSON objects, as Kubernetes reads YAML: timestamps stay strings, keys are strings.

Objects are built from libyaml's events without recursion, so that depth is counted rather than suffered; what aliases and merge keys
repeat is paid for from a budget before it is made.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

from knarr.machinery.budget import MAX_DEPTH
from knarr.machinery.diagnosis import Duplicates
from knarr.machinery.errors import StatusError, bad_request

# What aliases and merge keys may add to one text: a byte for each letter and each value that they repeat.
REPEATED_BYTES = 1024 * 1024
# libyaml compares each %TAG directive with all before it.
MAX_DIRECTIVES = 16

_MERGE = "tag:yaml.org,2002:merge"
_STRING, _TIMESTAMP, _BINARY, _VALUE = (f"tag:yaml.org,2002:{name}" for name in ("str", "timestamp", "binary", "value"))
_INT, _FLOAT, _BOOL, _NULL = (f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null"))
_LIST, _OBJECT = ("tag:yaml.org,2002:seq", "tag:yaml.org,2002:map")
_DIRECTIVE = re.compile(r"^%TAG", re.MULTILINE)

# As in Go: no dates, = is a string, and 1:20 is a string rather than 80.
_NUMBERS = {
    _INT: re.compile(r"[-+]?(?:0b[0-1_]+|0[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$"),
    _FLOAT: re.compile(
        r"(?:[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9_]+(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN))$"
    ),
}
_RESOLVERS: dict[str, list[tuple[str, re.Pattern[str]]]] = {
    first: [(tag, _NUMBERS.get(tag, pattern)) for tag, pattern in resolvers if tag not in (_TIMESTAMP, _VALUE)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_TRUE = frozenset(("yes", "true", "on"))


def yaml_documents(text: str | bytes) -> list[dict[str, Any]]:
    """The objects of a YAML (or JSON) stream; empty documents are left out. An object with repeated keys is a ``Duplicates``.

    Raises StatusError BadRequest, also for what is nested too deeply or repeats too much by aliases.
    """
    try:
        decoded = text if isinstance(text, str) else text.decode()
    except UnicodeDecodeError as error:
        raise _refused(f"yaml: invalid UTF-8: {error.reason} at {error.start}") from None
    if len(_DIRECTIVE.findall(decoded)) > MAX_DIRECTIVES:
        raise _refused(f"yaml: more than {MAX_DIRECTIVES} %TAG directives")
    try:
        documents = list(_documents(decoded))
    except yaml.YAMLError as error:
        raise _refused(f"yaml: {' '.join(str(error).split())}") from None
    found = [document for document in documents if document is not None]
    for document in found:
        if not isinstance(document, dict):
            raise _refused(f"a document must be an object, not {type(document).__name__}")
    return found


def _refused(detail: str) -> StatusError:
    return bad_request(f"error converting YAML to JSON: {detail}")


class _Node:
    """An object or a list that is being read."""

    __slots__ = ("anchor", "key", "merged", "repeated", "size", "value")

    def __init__(self, value: dict[str, Any] | list[Any], anchor: str | None) -> None:
        self.value = value
        self.anchor = anchor
        # The key whose value comes next, once it is known.
        self.key: str | None = None
        # What merge keys bring: the object's own keys come before it.
        self.merged: list[dict[str, Any]] = []
        self.repeated: list[str] = []
        self.size = 1


class _Builder:
    """Values from the events of one document."""

    def __init__(self) -> None:
        self._open: list[_Node] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._repeated_bytes = 0
        self.document: Any = None

    def begin(self, value: dict[str, Any] | list[Any], event: Any) -> None:
        if event.tag not in (None, "!", _OBJECT if isinstance(value, dict) else _LIST):
            raise _refused(f"yaml: line {event.start_mark.line + 1}: the tag {event.tag} is not served")
        if len(self._open) >= MAX_DEPTH:
            raise _refused(f"yaml: exceeded max depth of {MAX_DEPTH}")
        if event.anchor is not None:
            # An alias within what it stands for would have no end.
            self._anchors.pop(event.anchor, None)
        self._open.append(_Node(value, event.anchor))

    def end(self) -> None:
        node = self._open.pop()
        value: Any = node.value
        if isinstance(value, dict):
            for other in node.merged:
                for name, item in other.items():
                    value.setdefault(name, item)
            if node.repeated:
                value = Duplicates(value)
                value.repeated = tuple(dict.fromkeys(node.repeated))
        if node.anchor is not None:
            self._anchors[node.anchor] = value, node.size
        self._add(value, node.size)

    def scalar(self, event: Any) -> None:
        value, size = _scalar(event), len(event.value) + 1
        if event.anchor is not None:
            self._anchors[event.anchor] = value, size
        self._add(value, size, merges=event.value == "<<" and event.implicit[0] and not event.style)

    def alias(self, event: Any) -> None:
        if event.anchor not in self._anchors:
            raise _refused(f"yaml: unknown anchor '{event.anchor}' referenced")
        value, size = self._anchors[event.anchor]
        self._repeated_bytes += size
        if self._repeated_bytes > REPEATED_BYTES:
            raise _refused(f"yaml: aliases may repeat {REPEATED_BYTES} bytes at most")
        self._add(value, size)

    def _add(self, value: Any, size: int, *, merges: bool = False) -> None:
        if not self._open:
            self.document = value
            return
        node = self._open[-1]
        node.size += size
        if isinstance(node.value, list):
            node.value.append(value)
        elif node.key is None:
            node.key = _MERGE if merges else _key(value)
        elif node.key is _MERGE:
            node.key = None
            self._merge(node, value)
        else:
            if node.key in node.value:
                node.repeated.append(node.key)
            node.value[node.key] = value
            node.key = None

    def _merge(self, node: _Node, value: Any) -> None:
        merged = value if isinstance(value, list) else [value]
        if not all(isinstance(item, dict) for item in merged):
            raise _refused("yaml: map merge requires map or sequence of maps as the value")
        node.merged += merged


def _documents(text: str) -> Iterator[Any]:
    builder = _Builder()
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        match event:
            case yaml.ScalarEvent():
                builder.scalar(event)
            case yaml.MappingStartEvent():
                builder.begin({}, event)
            case yaml.SequenceStartEvent():
                builder.begin([], event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                builder.end()
            case yaml.AliasEvent():
                builder.alias(event)
            case yaml.DocumentStartEvent():
                builder = _Builder()
            case yaml.DocumentEndEvent():
                yield builder.document


def _scalar(event: Any) -> Any:
    text, tag = event.value, event.tag
    if tag is None or tag == "!":
        if tag == "!" or not event.implicit[0]:
            return text
        tag = _implicit(text)
    if tag in (_STRING, _TIMESTAMP, _BINARY, _MERGE):
        return text
    if tag == _NULL:
        return None
    if tag == _BOOL:
        return text.lower() in _TRUE
    if tag in (_INT, _FLOAT):
        return _number(text, tag)
    raise _refused(f"yaml: line {event.start_mark.line + 1}: the tag {tag} is not served")


def _implicit(text: str) -> str:
    for tag, pattern in _RESOLVERS.get(text[:1], ()):
        if pattern.match(text):
            return tag
    return _STRING


def _number(text: str, tag: str) -> Any:
    """What is spelled like a number; text when it is none after all. Whole numbers of more than 64 bits are floats, as in Go."""
    digits = text.replace("_", "").lower()
    try:
        whole = _whole(digits) if tag == _INT else None
        if whole is not None and -(2**63) <= whole < 2**64:
            return whole
        value = float(digits.replace(".inf", "inf").replace(".nan", "nan")) if whole is None else float(whole)
    except (ValueError, OverflowError):
        return text
    if not math.isfinite(value):
        raise _refused(f"json: unsupported value: {text}")
    return value


def _whole(digits: str) -> int | None:
    """None for one of so many digits that it is no 64-bit number in any case."""
    sign, bare = (-1 if digits.startswith("-") else 1), digits.lstrip("+-")
    if len(bare) > 66:
        return None
    base = 2 if bare.startswith("0b") else 16 if bare.startswith("0x") else 8 if bare.startswith("0") and bare != "0" else 10
    return sign * int(bare, base)


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, dict | list):
        raise _refused("yaml: a key must be a scalar")
    return key if isinstance(key, str) else str(key)
