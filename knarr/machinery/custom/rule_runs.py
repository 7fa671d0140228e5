"""Rules carried out on a value and all that is within it, within what they may cost together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from knarr.machinery.cel import values as cel
from knarr.machinery.cel.errors import CostExceeded, EvaluationError
from knarr.machinery.custom.rules import ROOT, Node, Rule, field_of
from knarr.machinery.custom.schema import ABSENT
from knarr.machinery.custom.values import by_keys, key_of, same
from knarr.machinery.errors import Cause, Forgiven
from knarr.machinery.validation import Verbatim, duplicate, forbidden, invalid, required

# Kubernetes' limits, in CEL's units of cost: of one evaluation, of all for one object.
CALL_LIMIT, OBJECT_LIMIT = 1_000_000, 10_000_000
MESSAGE_BYTES = 5 * 1024


@dataclass(slots=True)
class Budget:
    left: int = OBJECT_LIMIT


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
    convert, sort, place = node.convert, Verbatim(f'"{node.source.get("type", "")}"'), path or ROOT
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
    if holds is True:
        return
    cause = _cause(rule, node, value, path, _message(rule, variables, budget))
    causes.append(Forgiven(cause.reason, cause.message, cause.field) if unchanged and not rule.looks_back else cause)


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
    names = field_of(node.source, rule.source["fieldPath"]) if rule.source.get("fieldPath") else None
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
    return invalid(place, value if isinstance(value, str) else Verbatim(orjson.dumps(value).decode()), detail)
