"""Values and their fields: what tells two apart, what applying makes of one, what is left without some."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from knarr.machinery.fieldsets import fields as sets
from knarr.machinery.fieldsets.check import problems
from knarr.machinery.fieldsets.compare import compare
from knarr.machinery.fieldsets.members import everything, mentioned, reconciled, with_named
from knarr.machinery.fieldsets.merge import merge, remove
from knarr.machinery.fieldsets.shape import STRING, Shape
from tests.machinery.fieldsets.toys import TOY, has_anything_at, objects


def spoken(fields: sets.Fields) -> list[str]:
    return [sets.spoken(path) for path in sets.paths(fields)]


def spec(**fields: Any) -> dict[str, Any]:
    return {"spec": fields}


@given(objects, objects)
def test_what_is_applied_is_there_and_nothing_is_lost(live: Any, config: Any) -> None:
    merged = merge(TOY, live, config)
    assert all(has_anything_at(merged, path) for path in sets.paths(mentioned(TOY, config)))
    assert not compare(TOY, live, merged).removed or _only_atomic(live, merged)
    assert merge(TOY, merged, config) == merged, "a second time changes nothing"
    assert problems(TOY, merged) == []


def _only_atomic(live: Any, merged: Any) -> bool:
    """What is deduced may become of another sort altogether."""
    gone = compare(TOY, live, merged).removed
    return spoken(gone) == [path for path in spoken(gone) if path.startswith(".spec.any")]


@given(objects, objects)
def test_a_comparison_has_exactly_what_differs(old: Any, new: Any) -> None:
    found = compare(TOY, old, new)
    assert found.is_same == (_sorted(old) == _sorted(new))
    back = compare(TOY, new, old)
    assert (back.removed, back.added) == (found.added, found.removed)


def _sorted(value: Any) -> Any:
    """Equal for objects whose lists by key and sets differ in order only."""
    if isinstance(value, dict):
        return {
            name: sorted(map(_sorted, item), key=repr) if name in ("items", "names", "ports") else _sorted(item)
            for name, item in value.items()
        }
    return value


@given(objects, objects)
def test_without_what_was_added_it_is_what_it_was(live: Any, config: Any) -> None:
    merged = merge(TOY, live, config)
    found = compare(TOY, live, merged)
    rest = remove(TOY, merged, found.added) or {}
    assert not compare(TOY, live, rest).added


@given(objects)
def test_what_is_new_as_a_whole_is_all_that_is_in_it(value: Any) -> None:
    assert compare(TOY, {}, value).added == {name: node for name, node in everything(TOY, value).items() if name != "."}


def test_a_new_value_has_its_maps_and_elements_as_members_too() -> None:
    found = compare(TOY, {"spec": {}}, spec(items=[{"name": "a", "limits": {"cpu": "1"}}], names=["x"], whole={"k": "v"}))
    assert spoken(found.added) == [
        ".spec.items", ".spec.names", ".spec.whole",
        '.spec.items[name="a"]', '.spec.items[name="a"].limits', '.spec.items[name="a"].name', '.spec.items[name="a"].limits.cpu',
        '.spec.names[="x"]',
    ]  # fmt: skip


def test_what_is_applied_is_owned_by_its_leaves_and_elements() -> None:
    config = spec(items=[{"name": "a", "limits": {"cpu": "1"}, "ports": [{"number": 80}]}], names=["x"], whole={"k": "v"}, labels={})
    assert spoken(mentioned(TOY, config)) == [
        ".spec.labels", ".spec.whole",
        '.spec.items[name="a"]', '.spec.items[name="a"].name', '.spec.items[name="a"].limits.cpu',
        '.spec.items[name="a"].ports[number=80,protocol="TCP"]', '.spec.items[name="a"].ports[number=80,protocol="TCP"].number',
        '.spec.names[="x"]',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("live", "config", "merged"),
    [
        pytest.param("abc", "", "abc", id="nothing wanted"),
        pytest.param("", "ba", "ba", id="nothing there"),
        pytest.param("abc", "b", "abc", id="known one"),
        pytest.param("abc", "ca", "bca", id="the order of what is applied"),
        pytest.param("abc", "xb", "axbc", id="a new one before a known one"),
        pytest.param("abc", "bx", "abcx", id="a new one after a known one"),
        pytest.param("ab", "x", "abx", id="only a new one"),
    ],
)
def test_a_list_goes_by_the_order_of_what_is_applied(live: str, config: str, merged: str) -> None:
    assert merge(TOY, spec(names=list(live)), spec(names=list(config))) == spec(names=list(merged))


def test_repeated_keys_are_one_leaf_until_one_is_applied() -> None:
    twice = spec(items=[{"name": "a", "value": "1"}, {"name": "a", "value": "2"}, {"name": "b"}])
    assert spoken(compare(TOY, {}, twice).added) == [".spec", ".spec.items", '.spec.items[name="a"]', '.spec.items[name="b"]', '.spec.items[name="b"].name']  # noqa: E501  # fmt: skip
    assert merge(TOY, twice, spec(items=[{"name": "a", "value": "3"}])) == spec(items=[{"name": "a", "value": "3"}, {"name": "b"}])
    assert spoken(compare(TOY, twice, spec(items=[{"name": "a"}, {"name": "b"}])).removed) == ['.spec.items[name="a"]']
    changed = spec(items=[{"name": "a", "value": "1"}, {"name": "a", "value": "9"}, {"name": "b"}])
    assert spoken(compare(TOY, twice, changed).modified) == ['.spec.items[name="a"]']


def test_null_and_empty_and_absent_differ() -> None:
    assert spoken(compare(TOY, spec(labels=None), spec(labels={})).modified) == [".spec.labels"]
    assert spoken(compare(TOY, spec(), spec(labels={})).added) == [".spec.labels"]
    assert spoken(compare(TOY, spec(labels=None), spec(labels={"a": "b"})).added) == [".spec.labels.a"]


def test_removing_what_is_left_empty_leaves_null() -> None:
    value = spec(items=[{"name": "a"}], labels={"k": "v"}, size=1)
    gone: sets.Fields = {"f:spec": {"f:items": {'k:{"name":"a"}': {}}, "f:labels": {"f:k": {}}}}
    assert remove(TOY, value, gone) == spec(items=None, labels=None, size=1)


def test_named_fields_are_those_of_structs() -> None:
    fields: sets.Fields = {"f:spec": {"f:labels": {"f:k": {}}, "f:items": {'k:{"name":"a"}': {"f:value": {}}}}}
    assert spoken(with_named(TOY, fields)) == [
        ".spec", ".spec.items", ".spec.labels", '.spec.items[name="a"].value', ".spec.labels.k",
    ]  # fmt: skip


def test_what_has_become_atomic_is_owned_as_a_whole() -> None:
    fields: sets.Fields = {"f:spec": {"f:whole": {"f:k": {}}, "f:labels": {"f:k": {}}, "f:unknown": {"f:k": {}}}}
    assert reconciled(TOY, fields) == {"f:spec": {"f:whole": {}, "f:labels": {"f:k": {}}, "f:unknown": {"f:k": {}}}}
    kept: sets.Fields = {"f:spec": {"f:whole": {}}}
    assert reconciled(TOY, kept) is kept


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (spec(nope=1), ".spec.nope: field not declared in schema"),
        (spec(size="x"), ".spec.size: expected numeric (int or float), got string"),
        (spec(names=[{"a": 1}]), ".spec.names: element 0: associative list without keys has an element that's a map type"),
        (spec(names=[None]), ".spec.names: element 0: associative list without keys has an element that's an explicit null"),
        (spec(names=["a", "a"]), '.spec.names: duplicate entries for key [="a"]'),
        (spec(items=[{"name": "a"}, {"name": "a"}]), '.spec.items: duplicate entries for key [name="a"]'),
        (spec(items=[{"name": "a", "ports": [{"number": 1}, {"number": 1, "protocol": "TCP"}]}]),
         '.spec.items[name="a"].ports: duplicate entries for key [number=1,protocol="TCP"]'),
        (spec(items=[None]), ".spec.items: element 0: associative list with keys may not have a null element"),
        (spec(items=["a"]), ".spec.items: element 0: associative list with keys may not have non-map elements"),
        (spec(items=[{}]), ".spec.items: element 0: associative list with keys has an element that omits all key fields [\"name\"] "
                           "(and doesn't have default values for any key fields)"),
        (spec(items={}), ".spec.items: expected list, got &{map[0 keys]}"),
        ({"spec": []}, ".spec: expected map, got &{[0 elements]}"),
        (spec(labels={"a": True}), ".spec.labels.a: expected string, got &value.valueUnstructured{Value:true}"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_with_its_path(value: Any, problem: str) -> None:
    assert problems(TOY, value) == [problem]


def test_many_problems_are_told_up_to_a_number() -> None:
    assert len(problems(TOY, {f"x{number}": 1 for number in range(1000)})) == 100


def test_a_type_may_hold_itself() -> None:
    tree = Shape("map", fields=lambda: {"name": STRING, "below": tree})
    assert spoken(mentioned(tree, {"below": {"below": {"name": "x"}}})) == [".below.below.name"]
