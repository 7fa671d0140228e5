"""The list of fields: every field of every served kind is in exactly one state, and nothing else is listed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import groupby

import pytest
from google.protobuf.descriptor import Descriptor

from knarr.machinery.catalog import registry
from knarr.machinery.schema import Field, descriptor_of, fields_of, form_of, is_object
from services.apiserver.fields.table import HONOURED, PACKAGE, STATES, WHOLE, Row, Values, rows
from tools.fields import PAGE, page

Place = tuple[str, str]


def listed() -> dict[Place, list[Row]]:
    found: dict[Place, list[Row]] = defaultdict(list)
    for row in rows():
        found[row.message, row.field].append(row)
    return found


def fields_to_judge() -> dict[Place, Field]:
    """What a client may set of the served kinds: all but the status, and but what stands below a field that is not honoured."""
    rows_of, found = listed(), dict[Place, Field]()

    def enter(message: Descriptor) -> None:
        whole = (message.full_name, WHOLE) in rows_of
        for field in fields_of(message):
            place = message.full_name, field.json_name
            if place in found or (field.name == "status" and is_object(message)):
                continue
            if whole and field.name != "metadata":
                found[message.full_name, WHOLE] = field
                continue
            found[place] = field
            lost = any(row.state != HONOURED and row.when.any for row in rows_of.get(place, ()))
            if field.message is not None and not form_of(field.message) and not lost:
                enter(field.message)

    for resource in registry():  # objects are judged as they are stored
        enter(descriptor_of(resource.storage.message))
    return found


def lines_of(places: Iterable[Place]) -> list[str]:
    """A line for each message with its fields, as they stand in the file."""
    return [
        f"{message.removeprefix(PACKAGE)}: {' '.join(field for _, field in group)}"
        for message, group in groupby(sorted(places), key=lambda place: place[0])
    ]


def test_every_field_of_every_kind_is_in_a_state_and_nothing_else_is_listed() -> None:
    wanted, found = set(fields_to_judge()), set(listed())
    missing, extra = lines_of(wanted - found), lines_of(found - wanted)
    assert not missing, "give these fields a state in services/apiserver/fields/support.tsv, then run `make fix`:\n" + "\n".join(missing)
    assert not extra, "take these fields out, which do not exist or stand below one that is not honoured:\n" + "\n".join(extra)


def test_a_field_is_in_one_state_or_in_one_for_each_value() -> None:
    for place, found in listed().items():
        if len(found) > 1:
            assert all(row.state != HONOURED and not row.when.others for row in found), place
            assert max(Counter(value for row in found for value in row.when.listed).values()) == 1, place


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row.message}.{row.field}")
def test_a_row_is_whole(row: Row) -> None:
    assert row.state in STATES
    assert row.words or row.state == HONOURED
    if not row.when.any:
        field = fields_to_judge()[row.message, row.field]
        assert row.state != HONOURED
        assert field.is_map or (field.message is None and not field.is_list), "only scalars and the keys of maps are told apart"


@pytest.mark.parametrize(
    ("text", "value", "meant"), [("", "a", True), ("a,b", "a", True), ("a,b", "c", False), ("!a,b", "a", False), ("!a,b", "c", True)]
)
def test_values(text: str, value: str, meant: bool) -> None:
    assert (value in Values.parse(text)) is meant
    assert Values.parse(text).any is (not text)


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text() == page(), "run `make fix`"
