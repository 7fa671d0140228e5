"""Where a driver has room is looked up, not tried place by place."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.selectors import stored_label_selector
from services.scheduler.plugins.volumebinding.room import Room, has_room
from tests.scheduler.objects import node

LABELS = st.dictionaries(st.sampled_from(["zone", "disk", "rack"]), st.sampled_from(["a", "b"]), max_size=3)


@st.composite
def places(draw: Any) -> meta.LabelSelector:
    found = meta.LabelSelector(match_labels=draw(LABELS))
    if draw(st.integers(0, 3)) == 0:
        operator = draw(st.sampled_from(["In", "NotIn", "Exists", "Near"]))
        found.match_expressions.add(key="zone", operator=operator, values=["a"] if operator != "Exists" else [])
    return found


@given(st.lists(places(), max_size=5), LABELS)
def test_room_is_where_one_of_the_places_is(told: list[meta.LabelSelector], labels: dict[str, str]) -> None:
    found = node("n1", labels=labels)
    expected = any(stored_label_selector(place).matches(found.metadata.labels) for place in told)
    assert has_room(Room(told), found) is expected


def test_a_place_for_each_node_is_one_look_for_each() -> None:
    room = Room([meta.LabelSelector(match_labels={"node": f"n{number}"}) for number in range(500)])
    assert len(room.by_labels) == 1 and not room.others
    assert [has_room(room, node("x", labels={"node": name})) for name in ("n0", "n499", "n500")] == [True, True, False]
    # What is kept by the key stays small.
    assert len(room.key) == 32 and room.key != Room(room.places[1:]).key
