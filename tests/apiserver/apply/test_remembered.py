"""What is remembered of one object's creator is what would be found out of another that looks like it."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import registry, version_of
from knarr.machinery.resources import Version
from knarr.objects.copies import copy_of
from services.apiserver.apply import remembered, repeated, tracking
from services.apiserver.apply.tracking import track_create, track_update
from services.apiserver.results import Ref
from services.apiserver.strategies import strategy_for
from tests.apiserver.strategies.test_any_object import WORDS, filled

NOW, LATER = (datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2))
STORED = [version for version in registry().versions if version.conversion is None and version.resource.stored]


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "_known", {})
    monkeypatch.setattr(repeated, "_known", repeated.Memory())


def managed(version: Version, obj: Any) -> Any:
    made = copy_of(obj)
    track_create(Ref(version), made, strategy_for(version).unreached(version.message, ""), "m", NOW)
    return list(made.metadata.managed_fields)


def varied(message: Any, source: random.Random) -> Any:
    """The same with other words, wherever there is one that no list and no key has; half of those of maps."""
    for field, value in message.ListFields():
        if field.is_repeated:
            entry = field.message_type
            if entry is not None and entry.GetOptions().map_entry and entry.fields_by_name["value"].type == field.TYPE_STRING:
                for key in sorted(value):
                    value[key] = source.choice((value[key], source.choice(WORDS[1:])))
            continue
        if field.message_type is not None:
            varied(value, source)
        elif field.type == field.TYPE_STRING:
            setattr(message, field.name, source.choice(WORDS[1:]))
    return message


@pytest.mark.parametrize("version", STORED, ids=lambda version: version.kind)
def test_the_same_is_found_with_and_without_memory(version: Version) -> None:
    source = random.Random(version.kind)
    objects = []
    for _ in range(30):
        obj = filled(version.message(), source, depth=6)
        obj.metadata.ClearField("managed_fields")
        objects += [obj, varied(copy_of(obj), source)]
    apart = []
    for obj in objects:
        remembered._known.clear()
        apart.append(managed(version, obj))
    remembered._known.clear()
    assert [managed(version, obj) for obj in objects] == apart
    # And once more, when all of them are known.
    assert [managed(version, obj) for obj in objects] == apart


def updated(version: Version, old: Any, new: Any, manager: str) -> Any:
    """The managers of ``old``, whose creator was ``m``, after it was replaced by ``new``, twice, and then by ``old`` again."""
    unreached, replaced = strategy_for(version).unreached(version.message, ""), copy_of(old)
    replaced.metadata.managed_fields.extend(managed(version, old))
    found = []
    for number, (writer, obj) in enumerate(((manager, new), ("o", new), (manager, old), ("m", new))):
        made = copy_of(obj)
        track_update(Ref(version), made, replaced, unreached, writer, LATER + timedelta(seconds=number))
        found.append(list(made.metadata.managed_fields))
        replaced = made
    return found


@pytest.mark.parametrize("version", STORED, ids=lambda version: version.kind)
def test_updates_come_out_the_same_with_and_without_memory(version: Version, monkeypatch: pytest.MonkeyPatch) -> None:
    source = random.Random(version.kind)
    changes = []
    for _ in range(20):
        old, other = (filled(version.message(), source, depth=6) for _ in range(2))
        for obj in (old, other):
            obj.metadata.ClearField("managed_fields")
        emptied = copy_of(old)
        for field, _value in emptied.ListFields():
            if field.name != "metadata" and source.random() < 0.5:
                emptied.ClearField(field.name)
        changes += [(old, new, manager) for new in (old, varied(copy_of(old), source), other, emptied) for manager in ("m", "n")]
    with_memory = [updated(version, *change) for change in changes * 2]
    monkeypatch.setattr(tracking, "_is_plain", lambda version: False)
    without = [updated(version, *change) for change in changes]
    assert with_memory == without * 2


def config_map(name: str, *keys: str) -> core.ConfigMap:
    obj = core.ConfigMap(data={key: f"value of {key}" for key in keys})
    obj.metadata.name = name
    return obj


def test_objects_of_one_outline_are_remembered_once_and_those_of_others_apart() -> None:
    version = version_of(core.ConfigMap)
    first, second = managed(version, config_map("a", "x")), managed(version, config_map("b", "x"))
    assert first == second and len(remembered._known) == 1
    other = managed(version, config_map("a", "y"))
    assert other != first and len(remembered._known) == 2


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "MAX_OUTLINES", 10)
    version = version_of(core.ConfigMap)
    for number in range(25):
        managed(version, config_map("a", f"key-{number}"))
        assert len(remembered._known) <= 10
    remembered._known.clear()
    managed(version, config_map("a", *(f"key-{number}" for number in range(5000))))
    assert not remembered._known
    pod = core.Pod()
    pod.metadata.name = "p"
    for number in range(5000):
        pod.spec.containers.add().name = f"c{number}"
    managed(version_of(core.Pod), pod)
    wordy = core.Pod()
    wordy.metadata.name = "p"
    wordy.spec.containers.add(name="c", args=["x" * 20_000])
    managed(version_of(core.Pod), wordy)
    assert not remembered._known
    assert remembered.outline(config_map("a", "x")) == remembered.outline(config_map("b", "x"))


def test_updates_that_change_the_same_fields_are_remembered_once() -> None:
    """Whose value it is may change with the first; from then on it is the writer's, at the time of each write."""
    version = version_of(core.ConfigMap)
    old, unreached = config_map("a", "x", "y"), strategy_for(version).unreached(version.message, "")
    old.metadata.managed_fields.extend(managed(version, old))
    for number in range(5):
        new = config_map("a", "x", "y")
        new.data["x"] = str(number)
        track_update(Ref(version), new, old, unreached, "n", LATER + timedelta(seconds=number))
        assert [entry.manager for entry in new.metadata.managed_fields] == ["m", "n"]
        assert new.metadata.managed_fields[0].time == managed(version, old)[0].time
        assert new.metadata.managed_fields[1].time.seconds == int(LATER.timestamp()) + number
        assert (b'"f:x"' in new.metadata.managed_fields[0].fields_v1.raw, new.metadata.managed_fields[1].fields_v1.raw) == (
            False,
            b'{"f:data":{"f:x":{}}}',
        )
        old = new
    assert len(repeated._known) == 2


def test_memory_of_updates_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeated, "MAX_UPDATES", 10)
    version = version_of(core.ConfigMap)
    unreached = strategy_for(version).unreached(version.message, "")
    for number in range(25):
        old = config_map("a", f"key-{number}")
        old.metadata.managed_fields.extend(managed(version, old))
        new = config_map("a", f"key-{number}")
        new.data[f"key-{number}"] = "other"
        track_update(Ref(version), new, old, unreached, "n", LATER)
        assert len(repeated._known) <= 10
    old, new = config_map("a", *map(str, range(100))), config_map("a", *map(str, range(100)))
    old.metadata.managed_fields.extend(managed(version, old))
    for key in new.data:
        new.data[key] = "other"
    before = len(repeated._known)
    track_update(Ref(version), new, old, unreached, "n", LATER)
    assert len(repeated._known) == before


def test_what_json_does_not_tell_is_no_change() -> None:
    """A time has no parts of a second in it: who sends others changes nothing, and is no example of who changes the time."""
    version = version_of(core.Event)
    unreached, old = strategy_for(version).unreached(version.message, ""), core.Event()
    old.metadata.name, old.first_timestamp.seconds = "a", 1
    old.metadata.managed_fields.extend(managed(version, old))
    same, other = copy_of(old), copy_of(old)
    same.first_timestamp.nanos, other.first_timestamp.seconds = 5, 2
    for new in (same, other, same):
        track_update(Ref(version), new, old, unreached, "n", LATER)
    assert same.metadata.managed_fields == old.metadata.managed_fields
    assert [entry.manager for entry in other.metadata.managed_fields] == ["n"]


def lease(node: str) -> coordination.Lease:
    found = coordination.Lease()
    found.metadata.name, found.spec.holder_identity, found.spec.renew_time.seconds = node, node, 1
    found.metadata.owner_references.add(api_version="v1", kind="Node", name=node, uid=f"uid of {node}")
    return found


def test_what_managers_own_is_held_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    version = version_of(core.ConfigMap)
    unreached = strategy_for(version).unreached(version.message, "")

    def change(number: int) -> None:
        old = config_map("a", f"key-{number}" + "x" * 100)
        old.metadata.managed_fields.extend(managed(version, old))
        new = copy_of(old)
        new.data[next(iter(new.data))] = "other"
        track_update(Ref(version), new, old, unreached, "m", LATER)

    change(100)
    monkeypatch.setattr(repeated, "MAX_HELD_BYTES", 5 * repeated._known._held_bytes)
    for number in range(101, 120):
        change(number)
    assert len(repeated._known) == 5


def test_heartbeats_of_a_thousand_nodes_are_reckoned_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each Lease has its node in its lists, and its managers own that."""
    version, reckoned = version_of(coordination.Lease), list[Any]()
    unreached, write = strategy_for(version).unreached(version.message, ""), tracking._write

    def counted(*given: Any) -> None:
        reckoned.append(given)
        write(*given)

    monkeypatch.setattr(tracking, "_write", counted)
    leases = []
    for number in range(1000):
        made = lease(f"node-{number}")
        made.metadata.managed_fields.extend(managed(version, made))
        leases.append(made)
    reckoned.clear()
    for moment in range(2, 5):
        for place, old in enumerate(leases):
            new = copy_of(old)
            new.spec.renew_time.seconds = moment
            track_update(Ref(version), new, old, unreached, "m", LATER + timedelta(seconds=moment))
            leases[place] = new
    assert len(reckoned) == len(leases)
    assert {made.metadata.managed_fields[0].time.seconds for made in leases} == {int(LATER.timestamp()) + 4}


def test_a_value_that_json_leaves_out_comes_and_goes() -> None:
    version = version_of(core.Event)
    unreached, old = strategy_for(version).unreached(version.message, ""), core.Event(reason="One", message="words")
    old.metadata.name = "a"
    old.metadata.managed_fields.extend(managed(version, old))
    for reason, owners in (("Two", ["m", "n"]), ("", ["m"]), ("Three", ["m", "n"]), ("", ["m"])):
        new = copy_of(old)
        new.reason = reason
        track_update(Ref(version), new, old, unreached, "n", LATER)
        assert [entry.manager for entry in new.metadata.managed_fields] == owners
