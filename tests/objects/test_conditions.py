"""Conditions: the one law of change and of time stamps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import codec
from knarr.machinery.patches import strategic
from knarr.machinery.times import to_datetime
from knarr.objects.conditions import condition_patch, condition_status, get_condition, is_true, remove_condition, set_condition

START = datetime(2026, 1, 1, tzinfo=UTC)
SAYINGS = st.lists(st.tuples(st.sampled_from(["True", "False", "Unknown"]), st.sampled_from(["", "A"]), st.sampled_from(["", "a"])))


def at(minutes: int) -> datetime:
    return START + timedelta(minutes=minutes)


def test_a_condition_that_is_not_there() -> None:
    status = core.PodStatus()
    assert get_condition(status, "Ready") is None
    assert condition_status(status, "Ready") == ""
    assert not is_true(status, "Ready")
    assert not remove_condition(status, "Ready")


@pytest.mark.parametrize("status", [core.PodStatus(), core.NodeStatus(), core.NamespaceStatus(), apps.DeploymentStatus()])
@given(sayings=SAYINGS)
def test_the_transition_time_moves_with_the_status_alone(status: Any, sayings: list[tuple[str, str, str]]) -> None:
    status.Clear()
    said, since = None, START
    for minute, (value, reason, message) in enumerate(sayings):
        changed = set_condition(status, "Some", value, reason=reason, message=message, now=at(minute))
        assert changed == ((value, reason, message) != said)
        since = at(minute) if said is None or said[0] != value else since
        said = (value, reason, message)
        found = get_condition(status, "Some")
        assert found is not None
        assert (found.status, found.reason, found.message) == said
        assert to_datetime(found.last_transition_time) == since
        assert len(status.conditions) == 1


@given(sayings=SAYINGS)
def test_a_status_made_anew_says_the_same_as_one_that_is_kept(sayings: list[tuple[str, str, str]]) -> None:
    kept, made = core.NodeStatus(), core.NodeStatus()
    for minute, (value, reason, message) in enumerate(sayings):
        before, made = made, core.NodeStatus()
        one = set_condition(kept, "Ready", value, reason=reason, message=message, now=at(minute))
        other = set_condition(made, "Ready", value, reason=reason, message=message, now=at(minute), before=before)
        assert (one, kept) == (other, made)


def test_a_condition_stays_where_it_stands() -> None:
    status = core.PodStatus()
    for kind in ("A", "B", "C"):
        set_condition(status, kind, True, now=at(0))
    set_condition(status, "B", False, now=at(1))
    assert [(found.type, found.status) for found in status.conditions] == [("A", "True"), ("B", "False"), ("C", "True")]
    assert remove_condition(status, "B")
    assert [found.type for found in status.conditions] == ["A", "C"]


def test_a_condition_without_a_transition_time_gets_one() -> None:
    before = core.PodStatus()
    before.conditions.add(type="Ready", status="True")
    status = core.PodStatus()
    set_condition(status, "Ready", True, now=at(3), before=before)
    assert to_datetime(status.conditions[0].last_transition_time) == at(3)


def test_the_generation_is_part_of_what_is_said() -> None:
    status = core.PodStatus()
    assert set_condition(status, "Ready", True, now=START, generation=1)
    assert not set_condition(status, "Ready", True, now=at(1), generation=1)
    assert set_condition(status, "Ready", True, now=at(1), generation=2)
    (condition,) = status.conditions
    assert (condition.observed_generation, condition.last_transition_time.seconds) == (2, int(START.timestamp()))
    patch = condition_patch(status, "Ready", False, now=START, generation=3)
    assert patch is not None and patch["status"]["conditions"][0]["observedGeneration"] == 3


def test_another_message_alone_may_be_no_change() -> None:
    status = apps.DeploymentStatus()
    assert set_condition(status, "Available", True, reason="Enough", message="of a", now=at(0), message_counts=False)
    assert not set_condition(status, "Available", True, reason="Enough", message="of b", now=at(1), message_counts=False)
    assert status.conditions[0].message == "of a"
    assert set_condition(status, "Available", True, reason="More", message="of c", now=at(2), message_counts=False)
    assert status.conditions[0].message == "of c"


def test_the_update_time_moves_with_any_change_and_when_it_is_renewed() -> None:
    status = apps.DeploymentStatus()
    set_condition(status, "Progressing", True, reason="Moves", now=at(0))
    found = status.conditions[0]
    assert not set_condition(status, "Progressing", True, reason="Moves", now=at(1))
    assert to_datetime(found.last_update_time) == at(0)
    assert not set_condition(status, "Progressing", True, reason="Moves", now=at(2), renew=True)
    assert (to_datetime(found.last_update_time), to_datetime(found.last_transition_time)) == (at(2), at(0))
    assert set_condition(status, "Progressing", True, reason="Stands", now=at(3))
    assert (to_datetime(found.last_update_time), to_datetime(found.last_transition_time)) == (at(3), at(0))


@given(sayings=SAYINGS)
def test_a_patch_sets_what_setting_in_place_does(sayings: list[tuple[str, str, str]]) -> None:
    kept, patched = core.Pod(), core.Pod()
    kept.status.conditions.add(type="Other", status="True")
    patched.CopyFrom(kept)
    for minute, (value, reason, message) in enumerate(sayings):
        patch = condition_patch(patched.status, "Ready", value, reason=reason, message=message, now=at(minute))
        changed = set_condition(kept.status, "Ready", value, reason=reason, message=message, now=at(minute))
        assert (patch is not None) == changed
        if patch is not None:
            merged = strategic.apply(core.Pod, codec.to_dict(patched), patch)
            patched = codec.from_json(core.Pod, merged).message
        assert {found.type: found for found in patched.status.conditions} == {found.type: found for found in kept.status.conditions}
