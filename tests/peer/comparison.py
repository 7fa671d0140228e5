"""Compares two answers to one request: Kubernetes 1.20's and ours.

What a newer Kubernetes does otherwise is no difference of ours. Fields that 1.20 does not know are found in its own schema; all else
stands in ``explained.yaml`` with its reason: ``words`` puts messages of old into those of today, ``additions`` are left out of ours,
``differences`` has lines that may differ.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.peer.peers import Answer

# Differ from run to run, or say who wrote.
VOLATILE = ("uid", "creationTimestamp", "resourceVersion", "managedFields", "selfLink", "deletionTimestamp", "generateName")
FILLED_IN = {"Job": ("labels",), "PersistentVolumeClaim": ("status",), "PersistentVolume": ("status",)}
QUOTED_LIST = re.compile(r'(supported values: )((?:"[^"]*"(?:, )?)+)')
# What a patch made of an object, or the patch itself, whole.
PATCHED = re.compile(r'(patch: \w+: Invalid value: )"(?:[^"\\]|\\.)*"(?=: )', re.DOTALL)
# How Go prints a value that is no scalar; since 1.34 it is JSON.
VALUE = "^((?:Invalid|Duplicate|Unsupported) value: )"
GO_NUMBER_OR_STRING = re.compile(VALUE + r'&?intstr\.IntOrString\{Type:(?:0, IntVal:(-?\d+)|1, IntVal:0), StrVal:("(?:[^"\\]|\\.)*")\}')
GO_VALUE = re.compile(VALUE + r'(?:[&*]?[\w.\[\]*]+(?:\{.*\}|\(nil\))|[{\[].*[}\]]|"?null"?|"…")(?=$|: )', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a line of difference is right: a pattern of the whole line, the kinds that it is about (all if none)."""

    line: re.Pattern[str]
    kind: re.Pattern[str] | None
    reason: str

    @property
    def name(self) -> str:
        return f"{self.line.pattern} ({self.kind.pattern})" if self.kind else self.line.pattern


class Explained:
    """The file of explanations, and how often each was of use."""

    def __init__(self, file: Path) -> None:
        document = yaml.safe_load(file.read_text())
        self._words, self._additions = (
            [(re.compile(entry["old"]), str(entry["new"])) for entry in document[part]] for part in ("words", "additions")
        )
        self._differences = [
            Explanation(re.compile(entry["line"], re.DOTALL), re.compile(entry["kind"]) if "kind" in entry else None, entry["reason"])
            for entry in document["differences"]
        ]
        self.used: Counter[str] = Counter()

    def today(self, message: str) -> str:
        """A message of 1.20 in the words of today."""
        return self._put(message, self._words)

    def shared(self, message: str) -> str:
        """A message of ours without what Kubernetes does not say."""
        return self._put(message, self._additions)

    def _put(self, message: str, words: Sequence[tuple[re.Pattern[str], str]]) -> str:
        for pattern, new in words:
            changed = pattern.sub(new, message)
            if changed != message:
                self.used[pattern.pattern] += 1
                message = changed
        return message

    def explains(self, line: str, kind: str) -> bool:
        """Whether a line of difference about a kind is one that the file names."""
        for entry in self._differences:
            if entry.line.fullmatch(line) and (entry.kind is None or entry.kind.fullmatch(kind)):
                self.used[entry.name] += 1
                return True
        return False

    def unused(self) -> list[str]:
        """The entries that explained nothing so far."""
        everything = [pattern.pattern for pattern, _ in (*self._words, *self._additions)] + [entry.name for entry in self._differences]
        return [name for name in everything if not self.used[name]]


def differences(theirs: Answer, ours: Answer, kind: str, schema: Schema, explained: Explained) -> list[str]:
    """What differs and is not explained, a line each."""
    lines = list(_status(theirs, ours)) or list(_bodies(theirs.body, ours.body, kind, schema, explained))
    return [line for line in lines if not explained.explains(line, kind)]


def _status(theirs: Answer, ours: Answer) -> Iterator[str]:
    # Of a patch that one can read and the other cannot, each says something else.
    if theirs.status != ours.status or _refuses_patch(theirs.body) != _refuses_patch(ours.body):
        yield f"status: {theirs.status} {_told(theirs.body)} -> {ours.status} {_told(ours.body)}"


def _refuses_patch(body: Any) -> bool:
    causes = (body.get("details") or {}).get("causes") if isinstance(body, dict) and body.get("kind") == "Status" else None
    return any(cause.get("field") == "patch" for cause in causes or ())


def _told(body: Any) -> str:
    return str(body.get("message", "")) if isinstance(body, dict) and body.get("kind") == "Status" else ""


def _bodies(theirs: Any, ours: Any, kind: str, schema: Schema, explained: Explained) -> Iterator[str]:
    if isinstance(theirs, dict) and isinstance(ours, dict) and theirs.get("kind") == ours.get("kind") == "Status":
        yield from _statuses(theirs, ours, explained)
    else:
        yield from _values(theirs, ours, schema.of_kind(theirs) if isinstance(theirs, dict) else None, "")


def _statuses(theirs: dict[str, Any], ours: dict[str, Any], explained: Explained) -> Iterator[str]:
    their_causes, our_causes = _causes(theirs, explained.today), _causes(ours, explained.shared)
    for cause in sorted(their_causes - our_causes):
        yield f"cause of theirs: {cause}"
    for cause in sorted(our_causes - their_causes):
        yield f"cause of ours: {cause}"
    for part in ("status", "reason", "code"):
        if theirs.get(part) != ours.get(part):
            yield f"{part}: {theirs.get(part)!r} -> {ours.get(part)!r}"
    for part in ("name", "group", "kind"):
        left, right = ((body.get("details") or {}).get(part) for body in (theirs, ours))
        if left != right:
            yield f"details.{part}: {left!r} -> {right!r}"
    # With causes the message is made of them.
    if not their_causes and explained.today(theirs.get("message", "")) != ours.get("message", ""):
        yield f"message: {explained.today(theirs.get('message', ''))} -> {ours.get('message', '')}"


def _causes(status: dict[str, Any], spoken: Callable[[str], str]) -> set[str]:
    found = (status.get("details") or {}).get("causes") or []
    told = (f"{cause.get('field', '')}: {cause.get('reason', '')}: {_plain(cause.get('message', ''))}" for cause in found)
    return {spoken(PATCHED.sub(r"\1…", line)) for line in told}


def _plain(message: str) -> str:
    """A message without what differs by language: how values are printed, and the order of sets."""
    message = GO_NUMBER_OR_STRING.sub(lambda found: found[1] + (found[2] or found[3]), message)
    message = GO_VALUE.sub(r"\1{…}", message)
    return QUOTED_LIST.sub(lambda found: found[1] + ", ".join(sorted(found[2].rstrip(", ").split(", "))), message)


def _values(theirs: Any, ours: Any, schema: Schema | None, path: str) -> Iterator[str]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted(theirs.keys() | ours.keys()):
            below = f"{path}.{key}" if path else key
            if path.endswith("metadata") and key in VOLATILE:
                continue
            if key not in theirs and schema is not None and not schema.knows(key):
                continue
            yield from _values(theirs.get(key), ours.get(key), schema.field(key) if schema else None, below)
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for index, (left, right) in enumerate(zip(theirs, ours, strict=True)):
            yield from _values(left, right, schema.items() if schema else None, f"{path}[{index}]")
    elif theirs != ours or type(theirs) is not type(ours):
        yield f"{path}: {theirs!r} -> {ours!r}"


class Schema:
    """A part of the peer's OpenAPI v2: which fields it knows."""

    def __init__(self, definitions: Mapping[str, Any], node: Mapping[str, Any] | None = None) -> None:
        self._definitions = definitions
        self._node = node or {}
        while "$ref" in self._node:
            self._node = definitions[self._node["$ref"].rpartition("/")[2]]

    def of_kind(self, obj: Mapping[str, Any]) -> Schema | None:
        """The schema of an object's kind; None when the peer does not have it."""
        group, _, version = str(obj.get("apiVersion", "")).rpartition("/")
        wanted = {"group": group, "version": version, "kind": obj.get("kind")}
        for node in self._definitions.values():
            if wanted in node.get("x-kubernetes-group-version-kind", ()):
                return Schema(self._definitions, node)
        return None

    def knows(self, name: str) -> bool:
        return "properties" not in self._node or name in self._node["properties"]

    def field(self, name: str) -> Schema:
        below = self._node.get("properties", {}).get(name) or self._node.get("additionalProperties") or {}
        return Schema(self._definitions, below)

    def items(self) -> Schema:
        return Schema(self._definitions, self._node.get("items", {}))

    def newer_fields(self, value: Any, path: str = "") -> Iterator[str]:
        """The fields of ``value`` that the peer does not know."""
        if isinstance(value, dict):
            for key, below in value.items():
                if not self.knows(key):
                    yield f"{path}.{key}"
                else:
                    yield from self.field(key).newer_fields(below, f"{path}.{key}")
        elif isinstance(value, list):
            for index, below in enumerate(value):
                yield from self.items().newer_fields(below, f"{path}[{index}]")


def as_stored(obj: dict[str, Any]) -> dict[str, Any]:
    """An object without what differs by who reads it: its managers, what 1.20 fills in whenever it reads, and the nulls that it writes."""
    left_out = {*VOLATILE, *FILLED_IN.get(obj["kind"], ())} - {"uid", "resourceVersion"}
    metadata = {key: value for key, value in obj["metadata"].items() if key not in left_out}
    kept = {**{key: value for key, value in obj.items() if key not in left_out}, "metadata": metadata}
    without_nulls: dict[str, Any] = _without_nulls(kept)
    return without_nulls


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(below) for key, below in value.items() if below is not None}
    return [_without_nulls(below) for below in value] if isinstance(value, list) else value


def without_newer(value: Any, schema: Schema) -> Any:
    """What the peer knows of a value."""
    if isinstance(value, dict):
        return {key: without_newer(below, schema.field(key)) for key, below in value.items() if schema.knows(key)}
    if isinstance(value, list):
        return [without_newer(below, schema.items()) for below in value]
    return value
