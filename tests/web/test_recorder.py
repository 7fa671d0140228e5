"""The undo log: what was, who changed it, and what is forgotten."""

from __future__ import annotations

import random
import zlib
from typing import Any

import orjson
import pytest

from services.web.packed import APPLIED, ObjectKey
from services.web.recorder import ADDED, DELETED, MODIFIED, Recorder
from tests.support.set_clock import SetClock
from tests.web.histories import Values, lived_through, thing


def values(recorder: Recorder, revision: int) -> dict[str, Any]:
    return {obj["metadata"]["name"]: obj["value"] for obj in map(orjson.loads, recorder.at(revision)["things"])}


def test_the_cluster_at_a_revision() -> None:
    recorder = Recorder(SetClock())
    recorder.begin("things", [thing("a", 3, 1), thing("b", 5, 1)], 7)
    recorder.take("things", MODIFIED, thing("a", 8, 2))
    recorder.take("things", DELETED, thing("b", 9, 1))
    recorder.take("things", ADDED, thing("c", 10, 1))
    assert [values(recorder, revision) for revision in (7, 8, 9, 10)] == [
        {"a": 1, "b": 1},
        {"a": 2, "b": 1},
        {"a": 2},
        {"a": 2, "c": 1},
    ]
    with pytest.raises(LookupError, match="the earliest is 7"):
        recorder.at(6)


def test_any_history_can_be_shown_at_each_of_its_revisions() -> None:
    recorder = Recorder(SetClock())
    recorder.begin("things", [], 1)
    then: dict[int, Values] = {1: {}} | dict(lived_through(recorder, "abcdef", 200, seed=17))
    assert {revision: values(recorder, revision) for revision in then} == then


def test_a_change_tells_what_was_and_who_wrote() -> None:
    recorder = Recorder(SetClock())
    recorder.begin("things", [thing("a", 3, 1, ("kubectl", "t1"), ("controller", "t2"))], 3)
    recorder.take("things", MODIFIED, thing("a", 4, 2, ("kubectl", "t3"), ("controller", "t2")))
    recorder.take("things", MODIFIED, thing("a", 5, 3, ("kubectl", "t3"), ("controller", "t4")))
    change, after = recorder.change(4)
    assert change.text_before is not None and after is not None
    assert (orjson.loads(change.text_before)["value"], orjson.loads(after)["value"], change.writer) == (1, 2, "kubectl (Update)")
    change, after = recorder.change(5)
    assert after is not None and orjson.loads(after)["value"] == 3 and change.writer == "controller (Update)"
    # A binding leaves no trace in managedFields: who wrote before did not do that.
    recorder.take("things", MODIFIED, thing("a", 6, 4, ("kubectl", "t3"), ("controller", "t4")))
    assert recorder.change(6)[0].writer == ""
    with pytest.raises(LookupError, match="not remembered"):
        recorder.change(7)


def test_what_is_old_or_too_much_is_forgotten() -> None:
    clock = SetClock()
    recorder = Recorder(clock, limit_bytes=3000, limit_seconds=100)
    recorder.begin("things", [], 1)
    for revision in range(2, 50):
        recorder.take("things", MODIFIED, thing("a", revision, random.Random(revision).randbytes(100).hex()))
        assert recorder.remembered_bytes <= 3000
    assert recorder.floor > 40 and values(recorder, recorder.floor) and len(recorder.changes) == 49 - recorder.floor
    clock.move(101)
    recorder.take("things", MODIFIED, thing("a", 50, 50))
    assert recorder.floor == 49 and len(recorder.changes) == 1


def test_a_change_larger_than_all_that_is_remembered_is_forgotten_at_once() -> None:
    recorder = Recorder(SetClock(), limit_bytes=1000)
    recorder.begin("things", [thing("a", 2, random.Random(1).randbytes(1000).hex())], 2)
    recorder.take("things", MODIFIED, thing("a", 3))
    assert (recorder.remembered_bytes, len(recorder.changes), recorder.floor) == (0, 0, 3)
    assert values(recorder, 3) == {"a": None}


def test_of_an_object_that_changed_often_only_what_is_shown_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(SetClock())
    recorder.begin("things", [thing("a", 2, 2), thing("b", 2, 2)], 2)
    for revision in range(3, 103):
        recorder.take("things", MODIFIED, thing("a" if revision % 2 else "b", revision, revision))
    unpacked: list[bytes] = []

    def counted(text: bytes) -> bytes:
        unpacked.append(text)
        return decompress(text)

    decompress = zlib.decompress
    monkeypatch.setattr(zlib, "decompress", counted)
    assert values(recorder, 4) == {"a": 3, "b": 4} and len(unpacked) == 2
    change, after = recorder.change(5)
    assert change.revision == 5 and after is not None and orjson.loads(after)["value"] == 5 and len(unpacked) == 3


def test_a_later_list_tells_what_was_missed() -> None:
    recorder = Recorder(SetClock())
    recorder.begin("things", [thing("a", 3, 1), thing("b", 3, 1)], 3)
    told: list[tuple[str, bool]] = []
    recorder.listen(lambda key, text: told.append((key.name, text is None)))
    recorder.begin("things", [thing("b", 6, 2), thing("c", 7, 1)], 8)
    assert told == [("a", True), ("b", False), ("c", False)]
    assert [change.type for change in recorder.changes] == [DELETED, MODIFIED, ADDED]
    assert values(recorder, 5) == {"a": 1, "b": 1}


def test_a_store_that_was_set_back_begins_a_new_history() -> None:
    recorder = Recorder(SetClock())
    recorder.begin("things", [thing("a", 3, 1), thing("b", 3, 1)], 3)
    recorder.begin("others", [thing("x", 3, 1)], 3)
    recorder.take("things", MODIFIED, thing("a", 50, 2))
    recorder.take("others", MODIFIED, thing("x", 51, 2))
    told: list[tuple[str, bool]] = []
    recorder.listen(lambda key, text: told.append((key.name, text is None)))
    recorder.begin("things", [thing("a", 3, 1), thing("c", 9, 1)], 10)
    assert told == [("b", True), ("a", False), ("c", False)] and not recorder.changes
    assert (recorder.floor, recorder.latest) == (10, 10) and values(recorder, 10) == {"a": 1, "c": 1}
    recorder.begin("others", [thing("x", 3, 1)], 10)
    current = recorder.get(ObjectKey("others", "shop", "x"))
    assert current is not None and current["value"] == 1 and not recorder.changes
    recorder.take("things", MODIFIED, thing("a", 11, 3))
    assert values(recorder, 10) == {"a": 1, "c": 1} and values(recorder, 11) == {"a": 3, "c": 1}


def test_what_comes_twice_or_late_changes_nothing() -> None:
    recorder = Recorder(SetClock())
    recorder.begin("things", [thing("a", 3, 1)], 3)
    recorder.take("things", MODIFIED, thing("a", 5, 2))
    recorder.take("things", MODIFIED, thing("a", 5, 2))
    recorder.take("things", MODIFIED, thing("a", 4, 9))
    assert len(recorder.changes) == 1 and values(recorder, 5) == {"a": 2}


def test_what_kubectl_keeps_of_what_was_applied_is_not_kept() -> None:
    recorder = Recorder(SetClock())
    obj = thing("a", 3)
    obj["metadata"]["annotations"] = {APPLIED: '{"data":{"password":"c2VjcmV0"}}', "other": "kept"}
    recorder.begin("things", [obj], 3)
    kept = recorder.get(ObjectKey("things", "shop", "a"))
    assert kept is not None and kept["metadata"]["annotations"] == {"other": "kept"} and "managedFields" not in kept["metadata"]
