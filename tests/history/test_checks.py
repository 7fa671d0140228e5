"""The checker finds what must not be: each of these histories has one thing wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.history.checks import violations
from tests.history.records import OK, REFUSED, UNKNOWN, Change, Epoch, History, Lead, Operation, Seen, Segment, State


def state(revision: int, token: str, uid: str = "u", **data: str) -> State:
    return State(revision, uid, {"v": token, **data})


def operation(kind: str, start: float, outcome: str = OK, **fields: object) -> Operation:
    found = Operation("c", 0, 0, kind, "a", start=start, end=start + 0.5, outcome=outcome)
    for name, value in fields.items():
        setattr(found, name, value)
    return found


def history() -> History:
    """Created at 11, updated at 12, patched at 13 without an answer, deleted at 14, created anew at 15; read, listed and watched."""
    epoch = Epoch(10, {})
    created, updated, patched, anew = state(11, "1"), state(12, "2"), state(13, "3"), state(15, "5", "w")
    for revision, found in ((11, created), (12, updated), (13, patched), (14, None), (15, anew)):
        epoch.append(Change(revision, "a", found))
    epoch.reached = 15
    epoch.leads += [Lead(11, writer="x"), Lead(11, holder="x"), Lead(12, writer="x"), Lead(13, holder="y"), Lead(14, writer="y")]
    operations = [
        operation("create", 1, token="1", revision=11, data={"v": "1"}),
        operation("get", 2, revision=11, items={"a": created}),
        operation("update", 3, token="2", revision=12, guard=11, data={"v": "2"}),
        operation("update", 3, REFUSED, token="2b", guard=11, data={"v": "2b"}),
        operation("patch", 4, UNKNOWN, token="3", data={"v": "3"}),
        operation("list", 5, revision=13, items={"a": patched}),
        operation("delete", 6, uid="u"),
        operation("get", 7),
        operation("create", 8, token="5", revision=15, data={"v": "5"}),
    ]
    events = [
        Seen("ADDED", 11, "a", created),
        Seen("MODIFIED", 12, "a", updated),
        Seen("MODIFIED", 13, "a", patched),
        Seen("DELETED", 14, "a", replace(patched, revision=14)),
        Seen("ADDED", 15, "a", anew),
    ]
    return History(operations, [Segment("w", 0, 0, 10, events, 15)], [epoch])


def test_a_good_history_is_clean() -> None:
    assert violations(history()) == []


def _set(index: int, **fields: object) -> Callable[[History], None]:
    def change(found: History) -> None:
        for name, value in fields.items():
            setattr(found.operations[index], name, value)

    return change


def _without(events: slice) -> Callable[[History], None]:
    def change(found: History) -> None:
        del found.segments[0].events[events]

    return change


def _twice(found: History) -> None:
    found.epochs[0].append(Change(16, "a", state(16, "3", "w")))


def _deletions_at_one_revision(found: History) -> None:
    found.segments[0].events[1:] = [replace(found.segments[0].events[3], revision=15)]


def _bookmark_of_before(found: History) -> None:
    found.segments[0].went_back.append(12)


def _leads(*leads: Lead) -> Callable[[History], None]:
    return lambda found: found.epochs[0].leads.extend(leads)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_set(3, outcome=OK, revision=12), "answered, but what lies at its revision"),
        (_set(2, outcome=REFUSED), "refused, but stored at 12"),
        (_set(2, guard=10), "replaced revision 11, but its guard was 10"),
        (_set(4, data={"v": "3", "more": "1"}), "lost something"),
        (_set(4, kind="apply", data={"v": "3", "more": "1"}), "lost something"),
        (_set(0, kind="apply", data={"v": "1", "more": "1"}), "made otherwise than asked"),
        (_twice, "carried out twice, at 13 and 16"),
        (_set(6, outcome=REFUSED), "nobody deleted a"),
        (_set(6, uid="another"), "nobody deleted a"),
        (_set(8, outcome=OK, revision=99), "answered, but what lies at its revision is None"),
        (_set(1, start=4.6, end=4.7), "which it was at no revision from 12"),
        (_set(7, start=1.6, end=1.7), "got None"),
        (_set(7, start=9, end=9.5), "got None"),
        (_set(5, revision=11, items={"a": state(11, "1")}), "listed at a revision before 12"),
        (_set(5, items={}), "listed a as None instead of"),
        (_set(5, items={"a": state(12, "2")}), "listed a as"),
        (_set(2, start=8.6, end=8.7), "written before revision 15"),
        (_without(slice(1, 2)), "saw"),
        (_without(slice(4, 5)), "missed"),
        (_deletions_at_one_revision, "saw"),
        (_bookmark_of_before, "went back to [12]"),
        (_leads(Lead(15, writer="x")), "x wrote at 15 while y led"),
        (_leads(Lead(15, holder=""), Lead(16, writer="y")), "y wrote at 16 while nobody led"),
    ],
)
def test_what_is_wrong_is_found(spoil: Callable[[History], None], words: str) -> None:
    found = history()
    spoil(found)
    assert any(words in line for line in violations(found)), violations(found)
