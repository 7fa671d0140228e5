"""Entries in key order: what is put in is there, whatever the blocks, and a picture stays as it was."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from services.apiserver import entries as pictures
from services.apiserver.cache import ordered
from services.apiserver.cache.ordered import Ordered
from services.apiserver.entries import Entries
from services.apiserver.entry import Entry

VERSION = version_of(core.ConfigMap)
keys = st.text("abc", min_size=1, max_size=3)
steps = st.lists(st.tuples(st.sampled_from(["put", "put", "put", "remove", "look"]), keys), max_size=60)


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ordered, "BLOCK", 3)
        patch.setattr(pictures, "BLOCK", 3)
        yield


def entry(key: str, revision: int = 1) -> Entry:
    return Entry(VERSION, key, revision, b"")


def shown(entries: Entries | Ordered) -> list[tuple[str, int]]:
    return [(found.key, found.revision) for found in entries]


@settings(max_examples=300, deadline=None)
@given(st.lists(keys, unique=True), steps, keys, keys, st.integers(0, 10))
def test_it_is_a_sorted_dictionary(begun: list[str], program: list[tuple[str, str]], one: str, other: str, count: int) -> None:
    model = dict.fromkeys(begun, 1)
    found = Ordered(entry(key) for key in begun)
    low, high = sorted((one, other))
    pictures_taken = []
    for revision, (action, key) in enumerate(program, start=2):
        if action == "put":
            found.put(entry(key, revision))
            model[key] = revision
        elif action == "remove" and key in model:
            found.remove(key)
            del model[key]
        elif action == "look":
            pictures_taken.append((found.between(low, high), {key: seen for key, seen in model.items() if low <= key < high}))
    assert shown(found) == sorted(model.items())
    for picture, expected in [*pictures_taken, (found.between("", "z"), model)]:
        assert shown(picture) == sorted(expected.items())
        assert len(picture) == len(expected)
        assert shown(picture.first(count)) == sorted(expected.items())[:count]
        if expected:
            assert (picture[0].key, picture[-1].key) == (min(expected), max(expected))
            assert picture[len(expected) - 1] is picture[-1]
        with pytest.raises(IndexError):
            picture[len(expected)]


def test_blocks_are_neither_empty_nor_too_long() -> None:
    found = Ordered()
    for number in range(100):
        found.put(entry(f"{number * 37 % 100:03}"))
    for number in range(0, 100, 3):
        found.remove(f"{number:03}")
    assert {len(block) for block in found.between("", "z").blocks} <= {1, 2, 3}


def test_keys_that_come_in_order_fill_their_blocks() -> None:
    found = Ordered()
    for number in range(30):
        found.put(entry(f"{number:03}"))
    assert [len(block) for block in found.between("", "z").blocks] == [3] * 10
    assert [len(block) for block in Entries.of([entry(str(number)) for number in range(7)]).blocks] == [3, 3, 1]
