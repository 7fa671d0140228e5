"""Sets of fields: their algebra against sets of paths, and their text."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.machinery.fieldsets import fields as sets
from knarr.machinery.fieldsets.fields import Fields

Path = tuple[str, ...]
elements = st.sampled_from(["f:a", "f:b", 'k:{"n":1}', 'v:"x"'])
path_sets = st.frozensets(st.lists(elements, min_size=1, max_size=3).map(tuple), max_size=6)


def tree(paths: Iterable[Path]) -> Fields:
    return reduce(sets.union, (sets.of_path(*path) for path in sorted(paths)), sets.EMPTY)


def listed(fields: Fields) -> set[Path]:
    return set(sets.paths(fields))


@given(path_sets)
def test_a_tree_has_the_paths_that_were_put_in(paths: frozenset[Path]) -> None:
    assert listed(tree(paths)) == paths
    assert all(sets.has(tree(paths), path) for path in paths)


@given(path_sets, path_sets)
def test_the_algebra_is_that_of_sets_of_paths(one: frozenset[Path], other: frozenset[Path]) -> None:
    left, right = tree(one), tree(other)
    before = orjson.dumps([left, right])
    assert listed(sets.union(left, right)) == one | other
    assert listed(sets.intersection(left, right)) == one & other
    assert listed(sets.difference(left, right)) == one - other
    below = {path for path in one if any(path[: len(gone)] == gone for gone in other)}
    assert listed(sets.excluding(left, right)) == one - below
    assert orjson.dumps([left, right]) == before, "what was given is shared with others"


@given(path_sets, path_sets)
def test_equal_sets_have_one_text(one: frozenset[Path], other: frozenset[Path]) -> None:
    text = sets.encode(tree(one | other))
    assert text == sets.encode(sets.union(tree(other), tree(one)))
    assert listed(sets.decode(text)) == one | other
    assert sets.encode(sets.decode(text)) == text


def test_the_text_is_that_of_kubernetes() -> None:
    fields = tree([("f:spec", "f:containers", 'k:{"name":"app"}'), ("f:spec", "f:containers", 'k:{"name":"app"}', "f:image")])
    assert sets.encode(fields) == b'{"f:spec":{"f:containers":{"k:{\\"name\\":\\"app\\"}":{".":{},"f:image":{}}}}}'


def test_keys_are_read_in_one_spelling_and_unknown_sorts_left_out() -> None:
    raw = orjson.dumps({'k:{"protocol":"TCP", "port":80.0}': {}, "v:1.0": {".": {}}, "i:2": {}, "z:later": {"f:a": {}}})
    assert sets.decode(raw) == {'k:{"port":80,"protocol":"TCP"}': {}, "v:1": {}, "i:2": {}}


@pytest.mark.parametrize(
    "raw",
    [b"[]", b"{", b"1", b'{"f:a":1}', b'{"plain":{}}', b'{"k:[]":{}}', b'{"k:{":{}}', b'{"i:x":{}}', b'{"f:a":' * 200 + b"{}" + b"}" * 200],
)
def test_what_is_no_set_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):
        sets.decode(raw)


def test_paths_are_told_as_kubernetes_tells_them() -> None:
    assert sets.spoken(("f:spec", "f:containers", 'k:{"name":"app"}', "f:image")) == '.spec.containers[name="app"].image'
    assert sets.spoken(("f:ports", 'k:{"containerPort":80,"protocol":"TCP"}')) == '.ports[containerPort=80,protocol="TCP"]'
    assert sets.spoken(("f:ports", 'k:{"name":{"b":"d","a":[1]}}')) == '.ports[name=a=[1]b="d"]'
    assert sets.spoken(("f:finalizers", 'v:"a/b"')) == '.finalizers[="a/b"]'
    assert sets.spoken(("f:list", "i:3")) == ".list[3]"


def test_paths_come_in_order_numbers_by_their_size() -> None:
    fields: dict[str, Any] = {'k:{"port":443}': {}, 'k:{"port":80}': {".": {}, "f:b": {}, "f:a": {}}, "f:z": {}}
    assert [sets.spoken(path) for path in sets.paths(fields)] == [".z", "[port=80]", "[port=443]", "[port=80].a", "[port=80].b"]
