"""YAML text → JSON objects, as Kubernetes reads YAML: timestamps stay strings, keys are strings.

Objects are built from libyaml's events without recursion, so that depth is counted rather than suffered; what aliases and merge keys
repeat is paid for from a budget before it is made.
"""

from __future__ import annotations

import math
import re
from binascii import a2b_base64
from collections.abc import Iterator
from typing import Any

import yaml

from knarr.machinery.budget import MAX_DEPTH
from knarr.machinery.diagnosis import Duplicates
from knarr.machinery.errors import StatusError, bad_request
from knarr.machinery.json_text import text_of

# What aliases and merge keys may add to one text: a byte for each letter and each value that they repeat.
REPEATED_BYTES = 1024 * 1024
# libyaml compares each %TAG directive with all before it.
MAX_DIRECTIVES = 16

_PREFIX = "tag:yaml.org,2002:"
_MERGE, _STRING, _BINARY = (f"{_PREFIX}{name}" for name in ("merge", "str", "binary"))
_INT, _FLOAT, _BOOL, _NULL = (f"{_PREFIX}{name}" for name in ("int", "float", "bool", "null"))
_DIRECTIVE = re.compile(r"^%TAG", re.MULTILINE)

# As in Go: no dates, = is a string, and 1:20 is a string rather than 80.
_WORDS: dict[str, tuple[str, Any]] = (
    {
        spelling: (tag, value)
        for tag, value, words in (
            (_BOOL, True, ("y", "yes", "true", "on")),
            (_BOOL, False, ("n", "no", "false", "off")),
            (_NULL, None, ("", "~", "null")),
            (_FLOAT, math.inf, (".inf", "+.inf", "-.inf")),
            (_FLOAT, math.nan, (".nan",)),
        )
        for word in words
        for spelling in (word, word.capitalize(), word.upper())
    }
    | dict.fromkeys((".Inf", "+.Inf", "-.Inf"), (_FLOAT, math.inf))
    | {".NaN": (_FLOAT, math.nan)}
)
_WHOLE = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|([1-9][0-9]*|0))")
_REAL = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
# No 64-bit number has so many digits, in whatever base.
_MAX_DIGITS = 64
_NUMERIC = tuple(".+-0123456789")
# Of a value that is told of in an error.
_SHOWN_LETTERS = 100


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

    __slots__ = ("anchor", "key", "line", "merged", "repeated", "size", "value")

    def __init__(self, value: dict[str, Any] | list[Any], event: Any) -> None:
        self.value = value
        self.anchor: str | None = event.anchor
        self.line = event.start_mark.line + 1
        # The key whose value comes next, once it is known.
        self.key: str | None = None
        # What merge keys bring: the object's own keys come before it.
        self.merged: list[dict[str, Any]] = []
        # The lines on which keys that were there before got another value.
        self.repeated: list[tuple[int, str]] = []
        self.size = 1


class _Builder:
    """Values from the events of one document."""

    def __init__(self) -> None:
        self._open: list[_Node] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._repeated_bytes = 0
        self.document: Any = None

    def begin(self, value: dict[str, Any] | list[Any], event: Any) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise _refused(f"yaml: exceeded max depth of {MAX_DEPTH}")
        if event.anchor is not None:
            # An alias within what it stands for would have no end.
            self._anchors.pop(event.anchor, None)
        self._open.append(_Node(value, event))

    def end(self) -> None:
        node = self._open.pop()
        value: Any = node.value
        if isinstance(value, dict):
            for other in node.merged:
                for name, item in other.items():
                    value.setdefault(name, item)
            if node.repeated:
                value = Duplicates(value)
                value.lines = tuple(node.repeated)
        if node.anchor is not None:
            self._anchors[node.anchor] = value, node.size
        self._add(value, node.size, node.line)

    def scalar(self, event: Any) -> None:
        value, size = _scalar(event), len(event.value) + 1
        if event.anchor is not None:
            self._anchors[event.anchor] = value, size
        self._add(value, size, event.start_mark.line + 1, merges=event.value == "<<" and event.implicit[0] and not event.style)

    def alias(self, event: Any) -> None:
        if event.anchor not in self._anchors:
            raise _refused(f"yaml: unknown anchor '{event.anchor}' referenced")
        value, size = self._anchors[event.anchor]
        self._repeated_bytes += size
        if self._repeated_bytes > REPEATED_BYTES:
            raise _refused(f"yaml: aliases may repeat {REPEATED_BYTES} bytes at most")
        self._add(value, size, event.start_mark.line + 1)

    def _add(self, value: Any, size: int, line: int, *, merges: bool = False) -> None:
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
                node.repeated.append((line, node.key))
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
    """A tag that says nothing about the value, as those of applications do, leaves the text; whoever reads the field judges that."""
    text, tag = event.value, event.tag
    if tag is None:
        value = _plain(text)[1] if event.implicit[0] else text
    elif tag in (_INT, _FLOAT, _BOOL, _NULL):
        found, value = _plain(text)
        if found != tag and (found, tag) != (_INT, _FLOAT):
            line, wanted, is_ = event.start_mark.line + 1, _short(tag), _short(found)
            raise _refused(f"yaml: line {line}: cannot decode !!{is_} `{text[:_SHOWN_LETTERS]}` as a !!{wanted}")
    else:
        value = _decoded(text) if tag == _BINARY else text
    if isinstance(value, float) and not math.isfinite(value):
        raise _refused(f"json: unsupported value: {text}")
    return value


def _short(tag: str) -> str:
    return tag.removeprefix(_PREFIX)


def _decoded(text: str) -> str:
    try:
        return text_of(a2b_base64(text.replace("\n", "").replace("\r", ""), strict_mode=True))
    except ValueError:
        raise _refused("yaml: !!binary value contains invalid base64 data") from None


def _plain(text: str) -> tuple[str, Any]:
    """What text without quotes stands for, and the tag of that.

    A float without a fraction is a whole number, as it is once Go has written it as JSON; what no float can hold is a string.
    """
    if text in _WORDS:
        return _WORDS[text]
    if not text.startswith(_NUMERIC):
        return _STRING, text
    digits = text if text[0] == "." else text.replace("_", "")
    whole = _WHOLE.fullmatch(digits)
    value = None if whole is None else _integer(whole)
    if value is not None:
        return _INT, value
    if not _REAL.fullmatch(digits):
        return _STRING, text
    real = float(digits)
    if not math.isfinite(real):
        return _STRING, text
    return _FLOAT, int(real) if real.is_integer() and abs(real) < 2**63 else real


def _integer(match: re.Match[str]) -> int | None:
    """None for what has more than 64 bits."""
    sign, *bases = match.groups()
    digits, base = next((digits, base) for digits, base in zip(bases, (16, 2, 8, 10), strict=True) if digits)
    if len(digits.lstrip("0")) > _MAX_DIGITS:
        return None
    value = int(digits, base) * (-1 if sign == "-" else 1)
    return value if -(2**63) <= value < 2**64 else None


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    if key is None or isinstance(key, dict | list):
        raise _refused("yaml: a key must be a string, a number or a boolean")
    return key if isinstance(key, str) else str(key)
