"""What explains a difference explains that one alone; no server is asked."""

from __future__ import annotations

from typing import Any

import pytest

from tests.peer.comparison import Explained, Schema, differences
from tests.peer.peers import Answer

DECODER = 'v1.PodSpec.Priority: readInt32: unexpected character: \ufffd, error found in #10 byte of ...|ity":"a"},|...'
UNMARSHAL = "json: cannot unmarshal string into Go struct field PodSpec.spec.priority of type int32"
TYPED = "failed to create typed patch object"
P = "default/p; /v1, Kind=Pod"


def refused(field: str, message: str) -> Answer:
    details = {"causes": [{"reason": "FieldValueInvalid", "message": message, "field": field}]}
    return Answer(422, {"kind": "Status", "message": f' "" is invalid: {field}: {message}', "details": details})


def patch(problem: str, shown: str = "map[a:b]") -> Answer:
    return refused("patch", f'Invalid value: "{shown}": {problem}')


def failed(code: int, message: str) -> Answer:
    return Answer(code, {"kind": "Status", "message": message})


TAKEN = Answer(200, {"kind": "Pod"})


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (patch("unrecognized type: int32"), patch("unrecognized type: int32", "map[a:c]")),
        (patch(DECODER), patch(UNMARSHAL)),
        (TAKEN, patch("cannot convert int64 to int32")),
        (refused("spec.priority", "Invalid value: -1: may not change"), patch("cannot convert int64 to int32")),
        (failed(500, f"{TYPED}: .spec: expected map, got &{{a}}"), failed(400, f"{TYPED} ({P}): .spec: expected map, got a")),
    ],
)  # fmt: skip
def test_explained(theirs: Answer, ours: Answer, explained: Explained) -> None:
    assert differences(theirs, ours, "Pod", Schema({}), explained) == []


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (patch("unrecognized type: int32"), patch("cannot convert string to int32")),
        (patch(DECODER), patch("spec is wrong")),
        (patch("unrecognized type: int32"), patch(UNMARSHAL)),
        (TAKEN, patch("unrecognized type: int32")),
        (patch("unrecognized type: int32"), refused("spec.priority", "Invalid value: -1: may not change")),
        (failed(500, f"{TYPED}: .spec: expected map, got &{{a}}"), TAKEN),
        (failed(500, f"{TYPED}: .spec: expected map, got &{{a}}"), failed(400, f"{TYPED} ({P}): .spec: expected list, got a")),
        (failed(500, f"{TYPED}: .spec: expected map, got &{{a}}"), failed(422, "spec is wrong")),
    ],
)  # fmt: skip
def test_unexplained(theirs: Answer, ours: Answer, explained: Explained) -> None:
    assert differences(theirs, ours, "Pod", Schema({}), explained) != []


def test_a_line_of_any_answer_is_a_difference(explained: Explained) -> None:
    body: dict[str, Any] = {"kind": "Pod", "spec": {"priority": 1}}
    assert differences(Answer(200, body), Answer(200, {**body, "spec": {}}), "Pod", Schema({}), explained) == ["spec.priority: 1 -> None"]
