"""What is read of shared objects is read once of each."""

from __future__ import annotations

from services.controller.workloads.readings import Readings


class Box:
    def __init__(self, content: int) -> None:
        self.content = content


def test_what_did_not_change_is_not_read_again() -> None:
    asked = list[int]()

    def read(box: Box) -> int:
        asked.append(box.content)
        return box.content * 10

    readings = Readings(read)
    first, second = Box(1), Box(2)
    assert readings.of([first, second]) == [10, 20]
    assert readings.of([second, first]) == [20, 10]
    assert asked == [1, 2]
    # A store replaces what changes.
    assert readings.of([first, Box(3)]) == [10, 30]
    assert asked == [1, 2, 3]
    # What was away is read anew, for nobody holds its place.
    assert readings.of([second]) == [20]
    assert asked == [1, 2, 3, 2]
