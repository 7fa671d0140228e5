"""What expressions of admission have besides those of schemas: the authorizer, variables, and objects that are made."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.machinery.cel.admission import VARIABLES, Composed, Variables, compiled, environment
from knarr.machinery.cel.authorization import AskingAuthorizer, Check, Decision
from knarr.machinery.cel.errors import CostExceeded, EvaluationError, InvalidExpression
from knarr.machinery.cel.json_values import as_json, check_types
from knarr.machinery.cel.values import Duration, MadeObject, Timestamp, UInt

LIMIT = 1_000_000


def value(source: str, *, makes_objects: bool = False, **seen: Any) -> Any:
    return compiled(source, environment(), makes_objects=makes_objects).evaluate(seen, LIMIT)[0]


class Asked:
    """Keeps what was asked; allows what is to be got."""

    def __init__(self) -> None:
        self.checks: list[Check] = []

    def __call__(self, check: Check) -> Decision:
        self.checks.append(check)
        return Decision(check.verb == "get", f"for {check.verb}", "broken" if check.verb == "break" else "")


@pytest.mark.parametrize(
    "source, check, answer",
    [
        ("authorizer.path('/healthz').check('get').allowed()", Check(path="/healthz", verb="get"), True),
        (
            "authorizer.group('apps').resource('deployments').check('create').allowed()",
            Check(group="apps", resource="deployments", verb="create"),
            False,
        ),
        (
            "authorizer.group('').resource('pods').subresource('log').namespace('n').name('p').check('get').reason()",
            Check(resource="pods", subresource="log", namespace="n", name="p", verb="get"),
            "for get",
        ),
        (
            "authorizer.serviceAccount('n', 'a').group('').resource('x').fieldSelector('a=b').labelSelector('c=d').check('get').errored()",
            Check(account=("n", "a"), resource="x", field_selector="a=b", label_selector="c=d", verb="get"),
            False,
        ),
        ("authorizer.group('').resource('x').check('break').error()", Check(resource="x", verb="break"), "broken"),
        ("authorizer.requestResource.check('get').allowed()", Check(resource="mine", verb="get"), True),
        ("authorizer.requestResource.name('other').check('get').allowed()", Check(resource="mine", name="other", verb="get"), True),
    ],
)
def test_the_authorizer_is_asked(source: str, check: Check, answer: Any) -> None:
    asked = Asked()
    assert value(source, authorizer=AskingAuthorizer(Check(), asked, Check(resource="mine"))) == answer
    assert asked.checks == [check]


@pytest.mark.parametrize(
    "source, words",
    [
        ("authorizer.path(' ')", "path must not be empty"),
        ("authorizer.group('').resource('')", "resource must not be empty"),
        ("authorizer.serviceAccount('not a namespace', 'a')", "Invalid service account namespace"),
        ("authorizer.serviceAccount('n', '@')", "Invalid service account name"),
    ],
)
def test_what_cannot_be_asked(source: str, words: str) -> None:
    with pytest.raises(EvaluationError, match=words):
        value(source, authorizer=AskingAuthorizer(Check(), Asked()))


def test_a_check_has_its_price() -> None:
    program = compiled("[1, 2, 3].all(n, authorizer.path('/').check('get').allowed())", environment())
    with pytest.raises(CostExceeded):
        program.evaluate({"authorizer": AskingAuthorizer(Check(), Asked())}, LIMIT)


def _variables(*said: tuple[str, str]) -> Composed:
    found = Composed(said)
    assert not found.problems
    return found


def test_variables_are_evaluated_when_they_are_asked_for_and_once() -> None:
    asked = Asked()
    composed = _variables(("a", "authorizer.path('/').check('get').allowed()"), ("b", "variables.a && variables.a"), ("c", "object.none"))
    seen: dict[str, Any] = {"authorizer": AskingAuthorizer(Check(), asked), "object": {}}
    seen[VARIABLES] = Variables(composed.programs, seen)
    program = composed.compiled("[1, 2].all(object, variables.b && variables.a)")
    found, cost = program.evaluate(seen, LIMIT)
    assert found is True and len(asked.checks) == 1 and cost > 350_000


def test_a_variable_costs_whoever_asks_first_and_its_failure_stays() -> None:
    composed = _variables(
        ("bad", "object.none"),
    )
    seen: dict[str, Any] = {"object": {}}
    seen[VARIABLES] = Variables(composed.programs, seen)
    program = composed.compiled("variables.bad == 1")
    for _ in range(2):
        with pytest.raises(EvaluationError, match='composited variable "bad" fails to evaluate: no such key: none'):
            program.evaluate(seen, LIMIT)
    hungry = _variables(("many", "object.items.all(a, object.items.all(b, object.items.all(c, a + b + c > 0)))"))
    seen = {"object": {"items": list(range(1, 200))}}
    seen[VARIABLES] = Variables(hungry.programs, seen)
    with pytest.raises(CostExceeded):
        hungry.compiled("variables.many").evaluate(seen, LIMIT)


def test_objects_are_made() -> None:
    made = value(
        "Object{spec: Object.spec{replicas: 1 + 1, ?none: optional.none(), ?some: optional.of('x')}, data: {'a': 'b'}}", makes_objects=True
    )
    assert isinstance(made, MadeObject) and made.cel_type == "Object"
    assert made == {"spec": {"replicas": 2, "some": "x"}, "data": {"a": "b"}}
    check_types(made, "Object")
    assert value("Object{spec: Object.spec{replicas: 3}}.spec.replicas", makes_objects=True) == 3


@pytest.mark.parametrize(
    "source, words",
    [
        ("Object{", "Syntax error: unexpected end"),
        ("Object{1: 2}", "Syntax error: mismatched input '1'"),
        ("object{a: 1}", "undeclared reference to 'object'"),
        ("Object.spec.{}", "Syntax error: mismatched input '{'"),
    ],
)
def test_what_is_no_object(source: str, words: str) -> None:
    with pytest.raises(InvalidExpression, match=words):
        compiled(source, environment(), makes_objects=True)


def test_made_objects_stand_where_they_are_called_after() -> None:
    wrong = value("Object{spec: Object.spec{list: [Object.spec.other{}]}}", makes_objects=True)
    with pytest.raises(EvaluationError, match=r'unexpected type name "Object\.spec\.other", expected "Object\.spec\.list"'):
        check_types(wrong, "Object")
    check_types(value("Object{spec: Object.spec{list: [Object.spec.list{}], map: {'a': Object.spec.map{}}}}", makes_objects=True), "Object")


def test_keys_of_patches() -> None:
    assert value("jsonpatch.escapeKey('k8s.io/a~b')") == "k8s.io~1a~0b"


@pytest.mark.parametrize(
    "found, shown",
    [
        (None, None), (True, True), (1, 1), (UInt(2), 2), (1.5, 1.5), ("a", "a"), (b"a", "YQ=="), ([1, [True]], [1, [True]]),
        ({"a": {"b": None}}, {"a": {"b": None}}), (Duration(1_500_000_000), "1.5s"), (Timestamp(0), "1970-01-01T00:00:00Z"),
    ],
)  # fmt: skip
def test_values_as_json(found: Any, shown: Any) -> None:
    assert as_json(found) == shown and type(as_json(found)) is type(shown)


@pytest.mark.parametrize("found", [{1: "a"}, object()])
def test_what_is_nothing_in_json(found: Any) -> None:
    with pytest.raises(EvaluationError):
        as_json(found)
