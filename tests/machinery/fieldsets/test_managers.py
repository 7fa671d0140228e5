"""Who owns what after updates and applies."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from knarr.machinery.fieldsets import fields as sets
from knarr.machinery.fieldsets.compare import compare
from knarr.machinery.fieldsets.managers import (
    ANCIENT_CHANGES,
    MAX_UPDATE_MANAGERS,
    Conflicts,
    Managed,
    Manager,
    Owned,
    applied,
    capped,
    updated,
)
from knarr.machinery.fieldsets.members import mentioned
from knarr.machinery.fieldsets.shape import STRING, Shape
from tests.machinery.fieldsets.toys import TOY, Sole, has_anything_at, objects, owner, owners, owning

SOLE = Sole()


class World:
    """An object and who manages it."""

    def __init__(self, live: Any = None, managed: Managed | None = None) -> None:
        self.live = live or {}
        self.managed = managed or {}

    def apply(self, name: str, config: Any, *, force: bool = False, now: int = 5) -> None:
        found = applied(SOLE, self.live, config, "v1", self.managed, owner(name), now, force=force)
        self.live = self.live if found.value is None else found.value
        self.managed = found.managed

    def update(self, name: str, new: Any, now: int = 5) -> None:
        old, self.live = self.live, new
        comparison = compare(TOY, old, new)
        self.managed = updated(SOLE, self.managed, lambda version: comparison, owner(name, "Update"), "v1", now)

    @property
    def facts(self) -> Any:
        return self.live, {manager: owned.fields for manager, owned in self.managed.items()}


def spec(**fields: Any) -> dict[str, Any]:
    return {"spec": fields}


@given(objects, objects)
def test_applying_twice_is_applying_once(live: Any, config: Any) -> None:
    world = World(live)
    world.apply("m", config)
    once = world.facts
    world.apply("m", config)
    assert world.facts == once


@settings(max_examples=50, suppress_health_check=[HealthCheck.filter_too_much])
@given(objects, objects, objects)
def test_disjoint_applies_commute(live: Any, one: Any, other: Any) -> None:
    """Of lists the elements, not their order; lists are compared as the sets that they are."""
    assume(not _touch(one, other))
    first, second = World(live), World(live)
    first.apply("one", one)
    first.apply("other", other)
    second.apply("other", other)
    second.apply("one", one)
    assert compare(TOY, first.live, second.live).is_same
    assert owners(first.managed) == owners(second.managed)


def _touch(one: Any, other: Any) -> bool:
    """Whether two configurations speak of one field, or one of a field below what the other has as a whole."""
    left, right = set(sets.paths(mentioned(TOY, one))), set(sets.paths(mentioned(TOY, other)))
    return any(a[: len(b)] == b or b[: len(a)] == a for a in left for b in right)


@given(objects, objects)
def test_what_is_given_up_goes_when_nobody_else_owns_it(first: Any, then: Any) -> None:
    world = World()
    world.apply("m", first)
    world.apply("m", then)
    gone = sets.difference(mentioned(TOY, first), mentioned(TOY, then))
    assert not sets.intersection(gone, mentioned(TOY, world.live))


@given(objects, objects, objects)
def test_what_is_given_up_stays_while_somebody_owns_it(first: Any, then: Any, others: Any) -> None:
    world = World()
    world.apply("other", others)
    world.apply("m", first, force=True)
    mine = dict(owners(world.managed)).get("other", {})
    world.apply("m", then, force=True)
    still = owners(world.managed).get("other", {})
    assert all(has_anything_at(world.live, path) for path in sets.paths(still))
    assert not sets.difference(still, mine), "who does nothing gains nothing"


@given(objects, st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), objects), max_size=5))
def test_every_owner_owns_something_that_is_there(live: Any, writes: list[tuple[str, bool, Any]]) -> None:
    world = World(live)
    for name, applies, value in writes:
        if applies:
            world.apply(name, value, force=True)
        else:
            world.update(name, value)
    for fields in owners(world.managed).values():
        assert fields


def test_a_field_of_another_manager_is_a_conflict_unless_it_is_as_it_was() -> None:
    world = World()
    world.apply("one", spec(size=1, names=["a"]))
    world.apply("other", spec(size=1))
    with pytest.raises(Conflicts) as caught:
        world.apply("third", spec(size=2, names=["b"]))
    assert {manager.name: fields for manager, fields in caught.value.fields.items()} == {
        "one": {"f:spec": {"f:size": {}}}, "other": {"f:spec": {"f:size": {}}},
    }  # fmt: skip
    world.apply("third", spec(size=2, names=["b"]), force=True)
    assert owners(world.managed) == {
        "one": {"f:spec": {"f:names": {'v:"a"': {}}}},
        "third": {"f:spec": {"f:size": {}, "f:names": {'v:"b"': {}}}},
    }


def test_a_field_that_is_shared_stays_when_one_gives_it_up() -> None:
    world = World()
    world.apply("one", spec(size=1))
    world.apply("other", spec(size=1))
    world.apply("one", spec(names=["a"]))
    assert world.live == spec(size=1, names=["a"])
    world.apply("other", spec(names=["a"]))
    assert world.live == spec(names=["a"])


def test_an_update_takes_what_it_changes_from_all_others() -> None:
    world = World()
    world.apply("one", spec(size=1, names=["a"]))
    world.update("other", spec(size=2, names=["a"]), now=9)
    assert owners(world.managed) == {"one": {"f:spec": {"f:names": {'v:"a"': {}}}}, "other": {"f:spec": {"f:size": {}}}}
    assert world.managed[owner("other", "Update")].seconds == 9
    world.update("third", spec(names=["a"]))
    assert owners(world.managed) == {"one": {"f:spec": {"f:names": {'v:"a"': {}}}}}


def test_an_update_that_changes_nothing_changes_no_entry() -> None:
    world = World()
    world.update("one", spec(size=1), now=1)
    before = world.managed
    world.update("other", spec(size=1), now=2)
    assert world.managed == before
    assert world.managed[owner("one", "Update")] is before[owner("one", "Update")]


def test_an_apply_that_changes_nothing_keeps_its_time() -> None:
    world = World()
    world.apply("one", spec(size=1), now=1)
    world.apply("one", spec(size=1), now=2)
    assert world.managed[owner("one")].seconds == 1
    world.apply("one", spec(size=2), now=3)
    assert world.managed[owner("one")].seconds == 3


def test_an_element_that_is_given_up_goes_with_what_updaters_own_in_it_but_not_from_those_who_applied_it() -> None:
    world = World()
    world.apply("one", spec(items=[{"name": "a", "value": "1"}, {"name": "b"}, {"name": "c", "value": "1"}]))
    world.apply("other", spec(items=[{"name": "c"}]))
    world.update("third", spec(items=[{"name": "a", "value": "1", "limits": {"cpu": "2"}}, {"name": "b"}, {"name": "c", "value": "1"}]))
    world.apply("one", spec(items=[{"name": "b"}]))
    assert world.live == spec(items=[{"name": "b"}, {"name": "c"}])
    assert sorted(owners(world.managed)) == ["one", "other"]


def test_what_nobody_owns_stays() -> None:
    world = World(spec(size=1, labels={"k": "v"}))
    world.apply("one", spec(names=["a"]))
    world.apply("one", spec(labels={"own": "x"}))
    assert world.live == spec(size=1, labels={"k": "v", "own": "x"})
    world.apply("one", spec(size=1))
    # As in Kubernetes: the field itself was owned together with its only key that had an owner.
    assert world.live == spec(size=1)


def test_managers_of_versions_that_are_gone_are_forgotten() -> None:
    old = {Manager("old", "Apply"): Owned("v0", 1, fields={"f:spec": {"f:size": {}}})}
    world = World(spec(size=1), old)
    world.apply("one", spec(size=2))
    assert owners(world.managed) == {"one": {"f:spec": {"f:size": {}}}}
    comparison = compare(TOY, {}, spec(size=1))
    left = updated(SOLE, old, lambda version: comparison, owner("u", "Update"), "v1", 1)
    assert owners(left) == {"u": {"f:spec": {".": {}, "f:size": {}}}}


def test_what_cannot_be_read_is_owned_by_nobody() -> None:
    assert Owned("v1", 1, raw=b"nonsense").fields == {}


def test_what_names_an_object_belongs_to_nobody() -> None:
    versions = Sole(Shape("map", fields=lambda: {"kind": STRING, "metadata": Shape("map", element=STRING), "data": STRING}))
    named = {"kind": "Toy", "metadata": {"name": "n", "uid": "u", "other": "o"}}
    found = applied(versions, {}, named, "v1", {}, owner("one"), 1)
    assert (found.value, owners(found.managed)) == (named, {"one": {"f:metadata": {"f:other": {}}}})
    again = applied(versions, named, {"kind": "Toy"}, "v1", found.managed, owner("one"), 1)
    assert owners(again.managed) == {}


def test_what_has_become_atomic_is_taken_as_a_whole() -> None:
    managed = {owner("one"): owning({"f:spec": {"f:whole": {"f:k": {}}, "f:size": {}}})}
    world = World(spec(whole={"k": "v"}, size=1), managed)
    world.update("other", spec(whole={"k": "w"}, size=1))
    assert owners(world.managed) == {"one": {"f:spec": {"f:size": {}}}, "other": {"f:spec": {"f:whole": {}}}}


def many(count: int, version: str = "v1") -> Managed:
    return {Manager(f"m{number}", "Update", version): Owned(version, number, fields={f"f:{number}": {}}) for number in range(count)}


def test_the_oldest_of_many_updaters_are_one() -> None:
    few = many(MAX_UPDATE_MANAGERS)
    assert capped(few) is few
    found = capped({**many(MAX_UPDATE_MANAGERS + 2), owner("a"): owning({"f:a": {}})})
    ancient = found[Manager(ANCIENT_CHANGES, "Update", "v1")]
    assert (ancient.fields, ancient.seconds) == ({"f:0": {}, "f:1": {}, "f:2": {}}, 2)
    assert len(found) == MAX_UPDATE_MANAGERS + 1
    more = capped({**found, Manager("new", "Update", "v1"): Owned("v1", 99, fields={"f:new": {}})})
    assert more[Manager(ANCIENT_CHANGES, "Update", "v1")].fields == {"f:0": {}, "f:1": {}, "f:2": {}, "f:3": {}}
    assert len(more) == MAX_UPDATE_MANAGERS + 1
