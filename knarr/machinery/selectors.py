"""Label and field selectors: parsed once, matched often.

The text forms follow Kubernetes: ``app=web,tier in (a, b),!legacy,weight>3`` for labels, ``metadata.name=x,status.phase!=Running``
for fields. Parse errors are StatusError BadRequest in Kubernetes' words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Cause, StatusError, bad_request
from knarr.machinery.validation import Path, check_format, invalid, label_value, qualified_name

IN, NOT_IN, EQUALS, DOUBLE_EQUALS, NOT_EQUALS = "in", "notin", "=", "==", "!="
EXISTS, DOES_NOT_EXIST, GREATER, LESS = "exists", "!", "gt", "lt"
_OPERATORS = {"in": IN, "notin": NOT_IN, "=": EQUALS, "==": DOUBLE_EQUALS, "!=": NOT_EQUALS, ">": GREATER, "<": LESS}
_OBJECT_OPERATORS = {"In": IN, "NotIn": NOT_IN, "Exists": EXISTS, "DoesNotExist": DOES_NOT_EXIST}
_TOKEN = re.compile(r"\s*(!=|==|[=!(),<>]|[^\s=!(),<>]+|$)")
_SYMBOLS = frozenset(("!=", "==", "=", "!", "(", ")", ",", "<", ">", ""))
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_TERM = re.compile(r"(?:[^\\,]|\\.|\\$)+", re.DOTALL)
_ESCAPE = re.compile(r"\\([\\,=])")

# A selector of more requirements is refused; a longer text is parsed anew each time, so that what is remembered stays small.
MAX_REQUIREMENTS = 500
# A label's value has no more letters.
LONGEST_INTEGER = 63
REMEMBERED_LETTERS = 1024


def integer(text: str) -> int | None:
    """What a label's value is as a number of 64 bits; None where it is none. Python itself would take ``1_0`` for ten."""
    found = int(text) if _INTEGER.fullmatch(text) and len(text) <= LONGEST_INTEGER else None
    return found if found is not None and -(2**63) <= found < 2**63 else None


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        present = self.key in labels
        if self.operator in (IN, EQUALS, DOUBLE_EQUALS):
            return present and labels[self.key] in self.values
        if self.operator in (NOT_IN, NOT_EQUALS):
            return not present or labels[self.key] not in self.values
        if self.operator == EXISTS:
            return present
        if self.operator == DOES_NOT_EXIST:
            return not present
        found, limit = integer(labels[self.key]) if present else None, integer(next(iter(self.values)))
        if found is None or limit is None:
            return False
        return found > limit if self.operator == GREATER else found < limit


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements must hold; none matches everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(requirement.matches(labels) for requirement in self.requirements)

    @property
    def everything(self) -> bool:
        return not self.requirements


NOTHING = Selector((Requirement("", IN),))


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    """One condition on one field: equal or not equal."""

    field: str
    equal: bool
    value: str

    def matches(self, fields: Mapping[str, str]) -> bool:
        return (fields.get(self.field, "") == self.value) is self.equal


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """All requirements must hold; a field that is missing is empty."""

    requirements: tuple[FieldRequirement, ...] = ()

    def matches(self, fields: Mapping[str, str]) -> bool:
        return all(requirement.matches(fields) for requirement in self.requirements)

    @property
    def everything(self) -> bool:
        return not self.requirements

    def exact(self, field: str) -> str | None:
        """The one value the selector asks of a field, if it asks for equality."""
        return next((entry.value for entry in self.requirements if entry.field == field and entry.equal), None)


def label_selector(selector: meta.LabelSelector | Mapping[str, str]) -> Selector:
    """The selector of an object's ``selector`` field, in older kinds a map of labels; an empty one matches everything.

    Raises StatusError BadRequest.
    """
    labels, rules = (selector, ()) if isinstance(selector, Mapping) else (selector.match_labels, selector.match_expressions)
    found = [Requirement(key, EQUALS, frozenset((value,))) for key, value in sorted(labels.items())]
    for rule in rules:
        operator = _OBJECT_OPERATORS.get(rule.operator)
        if operator is None:
            raise bad_request(f'"{rule.operator}" is not a valid label selector operator')
        found.append(Requirement(rule.key, operator, frozenset(rule.values)))
    return Selector(tuple(found))


def stored_label_selector(selector: meta.LabelSelector) -> Selector:
    """That of an object which is stored, whoever let it in: what ``label_selector`` would refuse matches nothing."""
    try:
        return label_selector(selector)
    except StatusError:
        return NOTHING


def format_label_selector(selector: Selector) -> str:
    """The text form that ``parse_label_selector`` reads."""
    return ",".join(_format(requirement) for requirement in selector.requirements)


def _format(requirement: Requirement) -> str:
    key, values = requirement.key, sorted(requirement.values)
    if requirement.operator in (IN, NOT_IN):
        return f"{key} {requirement.operator} ({','.join(values)})"
    if requirement.operator == EXISTS:
        return key
    if requirement.operator == DOES_NOT_EXIST:
        return f"!{key}"
    sign = {GREATER: ">", LESS: "<"}.get(requirement.operator, requirement.operator)
    return f"{key}{sign}{values[0]}"


def parse_label_selector(text: str) -> Selector:
    """Parses a ``labelSelector`` parameter. Raises StatusError BadRequest."""
    return _known_labels(text) if len(text) <= REMEMBERED_LETTERS else _parse_labels(text)


def _parse_labels(text: str) -> Selector:
    return Selector(tuple(_LabelParser(text).requirements()))


_known_labels = lru_cache(maxsize=1024)(_parse_labels)


def _check_count(count: int) -> None:
    """Each object is held against each requirement. Raises StatusError BadRequest."""
    if count > MAX_REQUIREMENTS:
        raise bad_request(f"a selector may have {MAX_REQUIREMENTS} requirements at most")


class _LabelParser:
    """A reader of tokens with one token of lookahead."""

    def __init__(self, text: str) -> None:
        self.tokens = [match[1] for match in _TOKEN.finditer(text)]
        while len(self.tokens) > 1 and not self.tokens[-2]:
            self.tokens.pop()
        self.position = 0

    def peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self.position += 1
        return token

    def requirements(self) -> list[Requirement]:
        found: list[Requirement] = []
        while self.peek():
            if self.peek() in _SYMBOLS - {"!"}:
                raise _unparsable(f"found '{self.peek()}', expected: !, identifier, or 'end of string'")
            found.append(self.requirement())
            _check_count(len(found))
            separator = self.take()
            if not separator:
                break
            if separator != ",":
                raise _unparsable(f"found '{separator}', expected: ',' or 'end of string'")
            if self.peek() in _SYMBOLS - {"!"}:
                raise _unparsable(f"found '{self.peek()}', expected: identifier after ','")
        return found

    def requirement(self) -> Requirement:
        key = self.take()
        absent = key == "!"
        if absent:
            key = self.take()
            if key in _SYMBOLS:
                raise _unparsable(f"found '{key}', expected: identifier")
        for problem in qualified_name(key):
            raise _unparsable(f'key: Invalid value: "{key}": {problem}')
        if absent or self.peek() in ("", ","):
            return Requirement(key, DOES_NOT_EXIST if absent else EXISTS)
        sign = self.take()
        operator = _OPERATORS.get(sign)
        if operator is None:
            raise _unparsable(f"found '{sign}', expected: in, notin, =, ==, !=, gt, lt")
        values = self.value_list() if operator in (IN, NOT_IN) else [self.value()]
        return Requirement(key, operator, frozenset(_checked(key, operator, values)))

    def value(self) -> str:
        if self.peek() in ("", ","):
            return ""
        token = self.take()
        if token in _SYMBOLS:
            raise _unparsable(f"found '{token}', expected: identifier")
        return token

    def value_list(self) -> list[str]:
        if self.take() != "(":
            self.position -= 1
            raise _unparsable(f"found '{self.peek()}' expected: '('")
        values: list[str] = []
        while True:
            if self.peek() in (",", ")"):
                values.append("")
            elif self.peek() in _SYMBOLS:
                raise _unparsable(f"found '{self.peek()}', expected: ',', ')' or identifier")
            else:
                values.append(self.take())
            separator = self.take()
            if separator == ")":
                return values
            if separator != ",":
                raise _unparsable(f"found '{separator}', expected: ',' or ')'")


def check_values(path: Path, key: str, operator: str, values: Sequence[str]) -> list[Cause]:
    """About each value that labels cannot have, or that is no bound for one."""
    causes: list[Cause] = []
    for index, value in enumerate(values):
        if operator in (GREATER, LESS) and not _INTEGER.fullmatch(value):
            causes.append(invalid(path.index(index), value, "for 'Gt', 'Lt' operators, the value must be an integer"))
        causes += check_format(path.index(index).key(key), value, label_value)
    return causes


def _checked(key: str, operator: str, values: list[str]) -> list[str]:
    for cause in check_values(Path("values"), key, operator, values):
        raise _unparsable(f"{cause.field}: {cause.message}")
    return values


def _unparsable(detail: str) -> StatusError:
    return bad_request(f"unable to parse requirement: {detail}")


def parse_field_selector(text: str) -> FieldSelector:
    """Parses a ``fieldSelector`` parameter, in whose values a backslash escapes ``,`` ``=`` and itself. Raises StatusError BadRequest."""
    return _known_fields(text) if len(text) <= REMEMBERED_LETTERS else _parse_fields(text)


def _parse_fields(text: str) -> FieldSelector:
    terms = _TERM.findall(text)
    _check_count(len(terms))
    return FieldSelector(tuple(_field_requirement(text, term) for term in terms))


_known_fields = lru_cache(maxsize=1024)(_parse_fields)


def _field_requirement(text: str, term: str) -> FieldRequirement:
    field, sign, value = term.partition("=")
    if not sign:
        raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
    if field.endswith("!"):
        return FieldRequirement(field[:-1], False, _unescaped(value))
    return FieldRequirement(field, True, _unescaped(value.removeprefix("=")))


def _unescaped(value: str) -> str:
    rest = _ESCAPE.sub("", value)
    _, backslash, escaped = rest.partition("\\")
    if backslash:
        raise bad_request(f"invalid field selector: invalid escape sequence: {backslash}{escaped[:1]}")
    if "=" in rest:
        raise bad_request("invalid field selector: unescaped character in value: =")
    return _ESCAPE.sub(r"\1", value)
