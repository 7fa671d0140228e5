"""The rules in CEL that a schema has for its objects (``x-kubernetes-validations``): compiled with it, carried out on each write.

They see values as their schema types them: ``self`` is what the rule stands at, ``oldSelf`` what it was before. A rule that looks at
``oldSelf`` is for updates only, unless it says that there may be none. What did not change is not judged again.
https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from knarr.machinery.cel.compiler import compile_expression
from knarr.machinery.cel.errors import InvalidExpression
from knarr.machinery.cel.program import Program
from knarr.machinery.cel.types import BOOL, DYN, MOST, STRING, Type, optional_of
from knarr.machinery.custom.jsonpath import fields_of, is_simple
from knarr.machinery.custom.rule_types import Convert, Json, converter, least_of, type_of
from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, Verbatim, forbidden, invalid, required

# Kubernetes' limits, in CEL's units of cost: as estimated, of one rule, of a whole schema.
RULE_LIMIT, SCHEMA_LIMIT = 10_000_000, 100_000_000
ROOT, NOWHERE = "<nil>", Path("")


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
        count = bound if bound is not None else MOST // (least_of(source) + 1)
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
    if place and field_of(source, place) is None:
        causes.append(invalid(path.child("fieldPath"), place, "must be a valid path"))
    return causes


REASONS = ("FieldValueRequired", "FieldValueDuplicate", "FieldValueInvalid", "FieldValueForbidden")


def field_of(source: Json, place: str) -> list[str] | None:
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


def _shown(rule: Json) -> Verbatim:
    return Verbatim(orjson.dumps(dict(rule)).decode())
