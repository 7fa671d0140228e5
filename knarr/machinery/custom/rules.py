"""The rules in CEL that a schema has for its objects (``x-kubernetes-validations``): compiled with it, carried out on each write.

They see values as their schema types them: ``self`` is what the rule stands at, ``oldSelf`` what it was before. A rule that looks at
``oldSelf`` is for updates only, unless it says that there may be none. What did not change is not judged again.
https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from knarr.machinery.cel import values as cel
from knarr.machinery.cel.compiler import compile_expression
from knarr.machinery.cel.errors import CostExceeded, EvaluationError, InvalidExpression
from knarr.machinery.cel.program import Program
from knarr.machinery.cel.syntax import RESERVED
from knarr.machinery.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    MOST,
    STRING,
    TIMESTAMP,
    Field,
    Type,
    list_of,
    map_of,
    object_of,
    optional_of,
)
from knarr.machinery.custom.formats import is_byte
from knarr.machinery.custom.jsonpath import fields_of, is_simple
from knarr.machinery.custom.schema import ABSENT
from knarr.machinery.custom.values import by_keys, key_of, same
from knarr.machinery.decoding import read_bytes
from knarr.machinery.errors import Cause
from knarr.machinery.validation import GoSyntax, Path, duplicate, forbidden, invalid, required

Json = Mapping[str, Any]

# Kubernetes' limits, in CEL's units of cost: of one evaluation, of all for one object; as estimated, of one rule, of a whole schema.
CALL_LIMIT, OBJECT_LIMIT = 1_000_000, 10_000_000
RULE_LIMIT, SCHEMA_LIMIT = 10_000_000, 100_000_000
MESSAGE_BYTES = 5 * 1024
ROOT, NOWHERE = "<nil>", Path("")
# Kubernetes' estimate does not count the letters of keys, and published definitions count on that; an evaluation counts them.
KEY = STRING.sized(1)
# The longest texts of a format, with their quotes.
FORMAT_SIZES = {"date-time": 32, "datetime": 32, "date": 12, "duration": 32}
METADATA = {"name": {"type": "string", "maxLength": 253}, "generateName": {"type": "string", "maxLength": 253}}
META_SCHEMA = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object", "properties": METADATA}}
_ESCAPED = re.compile(r"__|[./-]")
_ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}


def cel_name(name: str) -> str | None:
    """A field's name as rules write it; None for one that they cannot write."""
    if name in RESERVED or name in ("true", "false", "null", "in"):
        return f"__{name}__"
    found = _ESCAPED.sub(lambda match: _ESCAPES[match[0]], name)
    return found if re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", found) else None


def type_of(source: Json, *, whole: bool = False) -> Type | None:
    """The type of what a schema describes, None where it says nothing; ``whole``: of an object with metadata."""
    if source.get("x-kubernetes-int-or-string"):
        return DYN
    match source.get("type"):
        case "boolean":
            return BOOL
        case "integer":
            return INT
        case "number":
            return DOUBLE
        case "string":
            return _text_type(source)
        case "array":
            items = source.get("items", {})
            element = type_of(items, whole=items.get("x-kubernetes-embedded-resource", False))
            return list_of(element, size_of(source)) if element is not None else None
        case "object":
            return _object_type(source, whole=whole or source.get("x-kubernetes-embedded-resource", False))
    return None


def _text_type(source: Json) -> Type:
    found = {"byte": BYTES, "date": TIMESTAMP, "date-time": TIMESTAMP, "duration": DURATION}.get(source.get("format", ""))
    return found if found is not None and found is not BYTES else (found or STRING).sized(size_of(source))


def _object_type(source: Json, *, whole: bool) -> Type | None:
    more = source.get("additionalProperties")
    if isinstance(more, dict):
        inner = type_of(more)
        return map_of(KEY, inner, size_of(source)) if inner is not None else None
    properties = {**source.get("properties", {}), **(META_SCHEMA if whole else {})}
    fields: dict[str, Field] = {}
    for name, inner_source in properties.items():
        written, found = cel_name(name), type_of(inner_source)
        if written is not None and found is not None:
            fields[written] = Field(name, found)
    return object_of("object", fields)


def size_of(source: Json) -> int:
    """How many letters, elements or entries a value may have, as its schema or the size of a request bounds them."""
    match source.get("type"):
        case "string":
            if source.get("enum"):
                return max(len(str(choice)) for choice in source["enum"])
            if source.get("format") in FORMAT_SIZES:
                return FORMAT_SIZES[source["format"]]
            return min(source["maxLength"] * 4, MOST) if "maxLength" in source else MOST - 2
        case "array":
            return min(source["maxItems"], MOST) if "maxItems" in source else MOST // (_least(source.get("items", {})) + 1)
        case "object":
            more = source.get("additionalProperties")
            entry = _least(more) if isinstance(more, dict) else 2
            return min(source["maxProperties"], MOST) if "maxProperties" in source else MOST // (entry + 5)
    return 1


def _least(source: Json) -> int:
    """The bytes that a value has at least."""
    match source.get("type"):
        case "string":
            return 2
        case "boolean":
            return 4
        case "array":
            return 2
        case "object":
            properties = source.get("properties", {})
            names = [name for name in source.get("required", []) if name in properties and "default" not in properties[name]]
            return 2 + sum(len(name) + 4 + _least(properties[name]) for name in names)
    return 1


# What a value of JSON is to CEL; None where it is the same.
Convert = Callable[[Any], Any]


def converter(source: Json) -> Convert | None:
    match source.get("type"):
        case "number":
            return lambda value: float(value) if cel.is_number(value) else value
        case "string":
            return _TEXTS.get(source.get("format", ""))
        case "array":
            return _of_items(converter(source.get("items", {})))
        case "object":
            more = source.get("additionalProperties")
            if isinstance(more, dict):
                return _of_entries(converter(more))
            inner = {name: found for name, other in source.get("properties", {}).items() if (found := converter(other)) is not None}
            return _of_fields(inner) if inner else None
    return None


def _text_as(read: Callable[[str], Any]) -> Convert:
    def convert(value: Any) -> Any:
        try:
            return read(value) if isinstance(value, str) else value
        except (EvaluationError, ValueError):
            return value  # it breaks its format, which is told elsewhere

    return convert


_TEXTS: dict[str, Convert] = {
    "byte": _text_as(lambda text: read_bytes(text) if is_byte(text) else text),
    "date": _text_as(lambda text: cel.timestamp(f"{text}T00:00:00Z")),
    "date-time": _text_as(cel.timestamp),
    "duration": _text_as(cel.duration),
}


def _of_items(inner: Convert | None) -> Convert | None:
    return (lambda value: [inner(item) for item in value] if isinstance(value, list) else value) if inner is not None else None


def _of_entries(inner: Convert | None) -> Convert | None:
    if inner is None:
        return None
    return lambda value: {name: inner(item) for name, item in value.items()} if isinstance(value, dict) else value


def _of_fields(inner: Mapping[str, Convert]) -> Convert:
    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {**value, **{name: found(value[name]) for name, found in inner.items() if name in value}}

    return convert


@dataclass(frozen=True, slots=True)
class Rule:
    source: Json
    program: Program
    message: Program | None

    @property
    def looks_back(self) -> bool:
        return "oldSelf" in self.program.names

    @property
    def shown(self) -> str:
        return str(self.source.get("message") or self.source["rule"]).strip()


@dataclass(slots=True)
class Budget:
    left: int = OBJECT_LIMIT


@dataclass(slots=True)
class Node:
    """The rules at one place of a schema and below it. ``cost`` is what all of them may cost for one value."""

    source: Json
    rules: list[Rule] = field(default_factory=list)
    properties: dict[str, Node] = field(default_factory=dict)
    more: Node | None = None
    items: Node | None = None
    convert: Convert | None = None
    cost: int = 0

    @property
    def is_empty(self) -> bool:
        return not (self.rules or self.properties or self.more or self.items)


# Told what is wrong with a rule: its place in the schema, and the cause.
Problems = list[Cause]


def compile_rules(source: Json, path: Path = NOWHERE, problems: Problems | None = None, *, root: bool = False) -> Node:
    """The rules of a schema. What is wrong with them goes to ``problems``; such rules are left out."""
    compiler = _Compiler(problems if problems is not None else [])
    node = compiler.node(source, path, 1, "", whole=root)
    if node.cost > SCHEMA_LIMIT and problems is not None:
        for place in compiler.dearest:
            words = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
            problems.append(forbidden(place, words))
        words = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        problems.append(forbidden(path, _over(words, node.cost, SCHEMA_LIMIT)))
    return node


class _Compiler:
    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self._costs: list[tuple[int, Path]] = []

    @property
    def dearest(self) -> list[Path]:
        return [place for _, place in sorted(self._costs, key=lambda found: -found[0])[:4]]

    def node(self, source: Json, path: Path, bound: int | None, lost: str, *, whole: bool = False) -> Node:
        """``bound``: how many values there may be here, None where only the size of a request says so; ``lost``: from which place on old
        and new cannot be told to be the same."""
        node = Node(source)
        count = bound if bound is not None else MOST // (_least(source) + 1)
        listed = source.get("x-kubernetes-validations", [])
        whole = whole or source.get("x-kubernetes-embedded-resource", False)
        found = type_of(source, whole=whole) if listed else None
        for index, rule in enumerate(listed):
            here = path.child("x-kubernetes-validations").index(index)
            if found is None:
                self.problems.append(invalid(here.child("rule"), _shown(rule), "rules need a type to be checked against"))
            elif (compiled := self._rule(rule, source, found, here, count, lost)) is not None:
                node.rules.append(compiled)
                node.cost += (compiled.program.cost + (compiled.message.cost if compiled.message else 0)) * count
        if node.rules:
            node.convert = converter(source)
        self._below(node, path, bound, lost)
        node.cost += sum(inner.cost for inner in (*node.properties.values(), node.more, node.items) if inner is not None)
        return node

    def _below(self, node: Node, path: Path, bound: int | None, lost: str) -> None:
        source = node.source
        here = lost or (str(path) if source.get("x-kubernetes-map-type") == "atomic" else "")
        for name, inner in source.get("properties", {}).items():
            found = self.node(inner, path.child("properties").key(name), bound, here)
            if not found.is_empty:
                node.properties[name] = found
        more, items = source.get("additionalProperties"), source.get("items")
        if isinstance(more, dict):
            found = self.node(more, path.child("additionalProperties"), _times(bound, source.get("maxProperties")), here)
            node.more = None if found.is_empty else found
        if isinstance(items, dict):
            listed = lost or (str(path) if source.get("x-kubernetes-list-type") != "map" else "")
            found = self.node(items, path.child("items"), _times(bound, source.get("maxItems")), listed)
            node.items = None if found.is_empty else found

    def _rule(self, rule: Json, source: Json, found: Type, path: Path, count: int, lost: str) -> Rule | None:
        text, place = rule.get("rule", ""), path.child("rule")
        if not text.strip():
            self.problems.append(required(place, "rule is not specified"))
            return None
        self.problems += _words(rule, source, path)
        old = optional_of(found) if rule.get("optionalOldSelf") else found
        program = self._program(text, {"self": found, "oldSelf": old}, place, rule)
        if program is None:
            return None
        if program.type not in (BOOL, DYN):
            self.problems.append(invalid(place, _shown(rule), "cel expression must evaluate to a bool"))
            return None
        self._weigh("estimated rule cost", program, count, place)
        if "oldSelf" in program.names and lost:
            words = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {lost}"
            self.problems.append(invalid(place, text, words))
        if "oldSelf" not in program.names and "optionalOldSelf" in rule:
            here = path.child("optionalOldSelf")
            self.problems.append(invalid(here, rule["optionalOldSelf"], "may not be set if oldSelf is not used in rule"))
        message = None
        if rule.get("messageExpression"):
            here = path.child("messageExpression")
            message = self._program(rule["messageExpression"], {"self": found, "oldSelf": old}, here, rule)
            if message is not None and message.type not in (STRING, DYN):
                self.problems.append(invalid(here, _shown(rule), "messageExpression must evaluate to a string"))
            elif message is not None:
                self._weigh("estimated messageExpression cost", message, count, here)
        return Rule(rule, program, message)

    def _program(self, text: str, variables: Mapping[str, Type], place: Path, rule: Json) -> Program | None:
        try:
            return compile_expression(text, variables)
        except InvalidExpression as error:
            self.problems.append(invalid(place, _shown(rule), f"compilation failed: {error.shown(text)}"))
        except RecursionError:
            self.problems.append(invalid(place, _shown(rule), "compilation failed: the expression is nested too deeply"))
        return None

    def _weigh(self, what: str, program: Program, count: int, place: Path) -> None:
        cost = program.cost * count
        self._costs.append((cost, place))
        if cost > RULE_LIMIT:
            self.problems.append(forbidden(place, _over(what, cost, RULE_LIMIT)))


def _times(bound: int | None, most: int | None) -> int | None:
    return bound * most if bound is not None and most is not None else None


def _words(rule: Json, source: Json, path: Path) -> list[Cause]:
    """What is wrong with a rule besides its expressions."""
    causes: list[Cause] = []
    message, expression = rule.get("message", ""), rule.get("messageExpression", "")
    if message and not message.strip():
        causes.append(invalid(path.child("message"), message, "must be non-empty if specified"))
    elif "\n" in message.strip() or "\r" in message.strip():
        causes.append(invalid(path.child("message"), message, "must not contain line breaks"))
    elif "\n" in rule["rule"].strip() and not message.strip():
        causes.append(required(path.child("message"), "message must be specified if rule contains line breaks"))
    if expression and not expression.strip():
        causes.append(required(path.child("messageExpression"), "messageExpression must be non-empty if specified"))
    reason = rule.get("reason")
    if reason is not None and reason not in REASONS:
        choices = ", ".join(f'"{choice}"' for choice in sorted(REASONS))
        causes.append(Cause("FieldValueNotSupported", f'Unsupported value: "{reason}": supported values: {choices}', path.child("reason")))
    place = rule.get("fieldPath")
    if place and _field(source, place) is None:
        causes.append(invalid(path.child("fieldPath"), place, "must be a valid path"))
    return causes


REASONS = ("FieldValueRequired", "FieldValueDuplicate", "FieldValueInvalid", "FieldValueForbidden")


def _field(source: Json, place: str) -> list[str] | None:
    """The names on a rule's fieldPath, if they are fields of the schema."""
    place = re.sub(r"\['((?:[^'\\]|\\.)*)'\]", lambda match: "." + match[1].replace(".", r"\."), place[:1024])
    if not is_simple(place):
        return None
    names: list[str] = fields_of(place)
    found: Any = source
    for name in names:
        more = found.get("additionalProperties")
        found = found.get("properties", {}).get(name) or (more if isinstance(more, dict) else None)
        if found is None:
            return None
    return names


def _over(what: str, cost: int, limit: int) -> str:
    factor = cost / limit
    shown = "more than 100x" if factor > 100 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    advice = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    return f"{what} exceeds budget by factor of {shown} {advice}"


def _shown(rule: Json) -> GoSyntax:
    return GoSyntax(orjson.dumps(dict(rule)).decode())


class Stop(Exception):
    """No further rules are carried out."""


def check_rules(node: Node, value: Any, old: Any, path: str, causes: list[Cause]) -> None:
    """Carries out the rules of a value and of all within it; ``old`` is ABSENT where nothing is known to be the same before."""
    try:
        _check(node, value, old, path, causes, Budget(), unchanged=False)
    except Stop:
        return


def _check(node: Node, value: Any, old: Any, path: str, causes: list[Cause], budget: Budget, *, unchanged: bool) -> None:
    if value is None:
        return
    unchanged = unchanged if old is ABSENT else same(value, old)
    for rule in node.rules:
        _carry_out(rule, node, value, old, path, causes, budget, unchanged=unchanged)
    if isinstance(value, dict):
        known = old if isinstance(old, dict) else {}
        for name, item in value.items():
            inner = node.properties.get(name) or node.more
            if inner is not None:
                place = f"{path}.{name}" if path else name
                if name not in node.properties:
                    place = f"{path}[{name}]"
                _check(inner, item, known.get(name, ABSENT), place, causes, budget, unchanged=unchanged)
    elif isinstance(value, list) and node.items is not None:
        keys = node.source.get("x-kubernetes-list-map-keys") if node.source.get("x-kubernetes-list-type") == "map" else None
        before = by_keys(old, keys) if keys and isinstance(old, list) else {}
        for index, item in enumerate(value):
            was = before.get(key_of(item, keys), ABSENT) if keys else ABSENT
            _check(node.items, item, was, f"{path}[{index}]", causes, budget, unchanged=unchanged)


def _carry_out(rule: Rule, node: Node, value: Any, old: Any, path: str, causes: list[Cause], budget: Budget, *, unchanged: bool) -> None:
    may_be_new = rule.source.get("optionalOldSelf", False)
    if rule.looks_back and old is ABSENT and not may_be_new:
        return
    convert, sort, place = node.convert, GoSyntax(f'"{node.source.get("type", "")}"'), path or ROOT
    if budget.left <= 0:
        causes.append(invalid(place, sort, "validation failed due to running out of cost budget, no further validation rules will be run"))
        raise Stop
    variables = {"self": convert(value) if convert is not None else value}
    if rule.looks_back or may_be_new:
        before = cel.NONE if old is ABSENT else convert(old) if convert is not None else old
        variables["oldSelf"] = before if not may_be_new or old is ABSENT else cel.Optional(True, before)
    try:
        holds, cost = rule.program.evaluate(variables, min(CALL_LIMIT, budget.left))
        budget.left -= cost
    except CostExceeded as error:
        words = f"'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {rule.shown}"
        causes.append(invalid(place, sort, words))
        raise Stop from None
    except EvaluationError as error:
        budget.left -= getattr(error, "cost", 0)
        if str(error).startswith("no such overload"):
            words = f"'{error}': call arguments did not match a supported operator, function or macro signature for rule: {rule.shown}"
        else:
            words = f"{error} evaluating rule: {rule.shown}"
        causes.append(invalid(place, sort, words))
        return
    if holds is True or (unchanged and not rule.looks_back):
        return
    causes.append(_cause(rule, node, value, path, _message(rule, variables, budget)))


def _message(rule: Rule, variables: Mapping[str, Any], budget: Budget) -> str:
    if rule.message is not None:
        try:
            text, cost = rule.message.evaluate(variables, min(CALL_LIMIT, max(budget.left, 0)))
            budget.left -= cost
        except (CostExceeded, EvaluationError):
            text = ""
        text = text.strip() if isinstance(text, str) else ""
        if text and "\n" not in text and len(text.encode()) <= MESSAGE_BYTES:
            return text
    return str(rule.source.get("message", "")).strip() or f"failed rule: {rule.shown}"


def _cause(rule: Rule, node: Node, value: Any, path: str, detail: str) -> Cause:
    names = _field(node.source, rule.source["fieldPath"]) if rule.source.get("fieldPath") else None
    place = ".".join([*([path] if path else []), *(names or [])]) or ROOT
    match rule.source.get("reason"):
        case "FieldValueForbidden":
            return forbidden(place, detail)
        case "FieldValueRequired":
            return required(place, detail)
        case "FieldValueDuplicate":
            return duplicate(place, value)
    if isinstance(value, dict | list):
        return Cause("FieldValueInvalid", f"Invalid value: {detail}", place)
    return invalid(place, value if isinstance(value, str) else GoSyntax(orjson.dumps(value).decode()), detail)
