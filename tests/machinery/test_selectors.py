"""Selectors: what they match, how they are written, what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import StatusError
from knarr.machinery.selectors import format_label_selector, label_selector, parse_field_selector, parse_label_selector

LABELS = {"app": "web", "tier": "front", "weight": "7"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app", True),
        ("app=web", True),
        ("app==web,tier=front", True),
        ("app!=web", False),
        ("other!=web", True),
        ("app in (db, web)", True),
        ("app notin (db,web)", False),
        ("other notin (x)", True),
        ("!other", True),
        ("!app", False),
        ("weight>6,weight<8", True),
        ("weight>7", False),
        ("app>1", False),
        ("other=", False),
        (" app = web , tier ", True),
        ("in=x", False),
    ],
)
def test_label_selectors(text: str, matches: bool) -> None:
    selector = parse_label_selector(text)
    assert selector.matches(LABELS) is matches
    assert parse_label_selector(format_label_selector(selector)) == selector


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("app=web db", "found 'db', expected: ',' or 'end of string'"),
        ("=web", "found '=', expected: !, identifier, or 'end of string'"),
        ("a,,b", "found ',', expected: identifier after ','"),
        ("a,", "found '', expected: identifier after ','"),
        ("a in b", "found 'b' expected: '('"),
        ("a in (b", "found '', expected: ',' or ')'"),
        ("a b", "found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a>x", "the value must be an integer"),
        ("-a=b", 'Invalid value: "-a"'),
        ("a=b/c", 'Invalid value: "b/c"'),
    ],
)
def test_unparsable_label_selectors(text: str, problem: str) -> None:
    with pytest.raises(StatusError) as caught:
        parse_label_selector(text)
    assert caught.value.code == 400
    assert str(caught.value).startswith("unable to parse requirement: ")
    assert problem in str(caught.value)


def test_selectors_of_objects() -> None:
    selector = meta.LabelSelector(match_labels={"app": "web"})
    selector.match_expressions.add(key="tier", operator="In", values=["front", "back"])
    selector.match_expressions.add(key="old", operator="DoesNotExist")
    assert label_selector(selector).matches(LABELS)
    assert not label_selector(selector).matches({**LABELS, "old": ""})
    assert label_selector(meta.LabelSelector()).matches({})
    older = core.ReplicationControllerSpec(selector={"app": "web", "tier": "front"})
    assert format_label_selector(label_selector(older.selector)) == "app=web,tier=front"


def test_field_selectors() -> None:
    selector = parse_field_selector(r"metadata.name=a\,b,status.phase!=Failed,spec.nodeName=")
    assert selector.matches({"metadata.name": "a,b", "status.phase": "Running"})
    assert not selector.matches({"metadata.name": "a,b", "spec.nodeName": "n"})
    assert selector.exact("metadata.name") == "a,b"
    with pytest.raises(StatusError, match="can't understand 'nonsense'"):
        parse_field_selector("metadata.name=x,nonsense")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"a=b\=c", [("a", True, "b=c")]),
        (r"a=b\\,c!=d", [("a", True, "b\\"), ("c", False, "d")]),
        (r"a==\\\,", [("a", True, "\\,")]),
        (",a=,", [("a", True, "")]),
        ("a!b=c", [("a!b", True, "c")]),
    ],
)
def test_field_values_are_unescaped(text: str, expected: list[tuple[str, bool, str]]) -> None:
    found = parse_field_selector(text).requirements
    assert [(requirement.field, requirement.equal, requirement.value) for requirement in found] == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a=b=c", "unescaped character in value: ="),
        (r"a=b\c", r"invalid escape sequence: \\c"),
        ("a=b\\", r"invalid escape sequence: \\$"),
    ],
)
def test_field_values_that_are_badly_escaped(text: str, problem: str) -> None:
    with pytest.raises(StatusError, match=f"invalid field selector: {problem}"):
        parse_field_selector(text)


@given(st.text(alphabet="ab!=,() <>in", max_size=12))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        selector = parse_label_selector(text)
    except StatusError as error:
        assert error.code == 400
    else:
        assert parse_label_selector(format_label_selector(selector)) == selector
