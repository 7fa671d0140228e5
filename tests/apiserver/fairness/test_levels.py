"""The heart of fairness without a loop: hands, queues by virtual time, seats and who borrows them."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from services.apiserver.fairness.hands import dealt, flow_hash
from services.apiserver.fairness.level import GUESSED_SECONDS, Level, Seats, Shape, Waiting

QUEUED = Shape("queued", shares=10, queues=64, hand_size=6, queue_length=50)


@pytest.mark.parametrize(("queues", "hand_size"), [(1, 1), (16, 4), (64, 6), (128, 6), (10_000_000, 2), (6, 6)])
def test_a_hand_has_different_queues_and_is_the_same_each_time(queues: int, hand_size: int) -> None:
    for number in range(200):
        value = flow_hash("schema", f"user-{number}")
        hand = dealt(value, queues, hand_size)
        assert hand == dealt(value, queues, hand_size)
        assert len(set(hand)) == hand_size
        assert all(0 <= card < queues for card in hand)


def test_each_queue_is_dealt_about_as_often() -> None:
    counted = Counter(card for number in range(4000) for card in dealt(flow_hash("s", str(number)), 16, 4))
    assert len(counted) == 16
    assert max(counted.values()) < 1.25 * min(counted.values())


def test_a_flow_waits_in_the_shortest_of_its_queues() -> None:
    level = Level(QUEUED)
    for number in range(12):
        assert level.enqueue((1, 2, 3), Waiting(1, number)) == ""
    assert [level._width_of(index) for index in (1, 2, 3)] == [4, 4, 4]
    assert (level.waiting, level.waiting_width) == (12, 12)


def test_a_queue_has_an_end() -> None:
    level = Level(Shape("short", queues=4, hand_size=2, queue_length=3))
    assert [level.enqueue((0, 1), Waiting(1, 0.0)) for _ in range(7)] == [""] * 6 + ["queue-full"]
    # Who has another queue is not concerned.
    assert level.enqueue((2, 1), Waiting(1, 0.0)) == ""


def test_a_level_without_queues_refuses_what_finds_no_seat() -> None:
    level = Level(Shape("reject", shares=1))
    Seats(2, [level])
    assert [level.enqueue((), Waiting(1, 0.0)) for _ in range(3)] == ["", "", "concurrency-limit"]


def served(level: Level, count: int, seconds: dict[int, float]) -> Counter[int]:
    """How often each queue has its turn, one request after the other, each of which takes as long as its queue's do."""
    found: Counter[int] = Counter()
    for _ in range(count):
        index = level.next_index()
        if index is None:
            break
        request = level.take(index)
        level.ended(index, request.width, seconds[index])
        found[index] += 1
    return found


def filled(widths: dict[int, int], length: int = 400) -> Level:
    level = Level(Shape("filled", queues=64, hand_size=6, queue_length=10_000))
    for index, width in widths.items():
        for _ in range(length):
            level.enqueue((index,), Waiting(width, 0.0))
    return level


def test_queues_of_equals_have_equally_many_turns() -> None:
    turns = served(filled({0: 1, 1: 1, 2: 1}), 300, dict.fromkeys(range(3), GUESSED_SECONDS))
    assert turns == {0: 100, 1: 100, 2: 100}


def test_who_asks_for_lists_has_fewer_turns() -> None:
    turns = served(filled({0: 1, 1: 10}), 330, dict.fromkeys(range(2), GUESSED_SECONDS))
    assert abs(turns[0] - 10 * turns[1]) <= 10


def test_who_takes_longer_has_fewer_turns() -> None:
    turns = served(filled({0: 1, 1: 1}), 330, {0: 0.001, 1: 0.01})
    assert abs(turns[0] - 10 * turns[1]) <= 20


def test_who_comes_anew_is_next_and_owes_nothing_nor_is_owed() -> None:
    level = filled({0: 1})
    served(level, 200, {0: GUESSED_SECONDS})
    for _ in range(100):
        level.enqueue((5,), Waiting(1, 0.0))
    turns = served(level, 20, {0: GUESSED_SECONDS, 5: GUESSED_SECONDS})
    assert abs(turns[0] - turns[5]) <= 2


def test_whoever_has_nothing_waiting_and_had_no_more_than_his_part_need_not_wait() -> None:
    level = filled({0: 1})
    assert level.vacancy((0,)) is None
    assert level.vacancy((0, 7)) == 7
    level.begin(7, 1)
    # He has begun one: the next one waits until the others have had theirs.
    assert level.vacancy((7,)) is None
    level.ended(7, 1, GUESSED_SECONDS)
    assert level.vacancy((7,)) == 7
    assert Level(Shape("reject", shares=1)).vacancy(()) is None


def test_who_has_waited_too_long_is_taken_out() -> None:
    level = Level(QUEUED)
    for since in (1.0, 2.0, 3.0):
        level.enqueue((1,), Waiting(2, since))
    assert [waiter.since_seconds for waiter in level.expired(2.5)] == [1.0, 2.0]
    assert (level.waiting, level.waiting_width) == (1, 2)


def test_nothing_is_kept_of_queues_that_are_empty() -> None:
    level, chance = Level(QUEUED), random.Random(1)
    for number in range(5000):
        level.enqueue(dealt(flow_hash("s", str(number)), 64, 6), Waiting(1, 0.0))
        if chance.random() < 0.5:
            continue
        while (index := level.next_index()) is not None:
            level.ended(index, level.take(index).width, chance.random())
    while (index := level.next_index()) is not None:
        level.ended(index, level.take(index).width, 0.0)
    assert (level.waiting, level.waiting_width, level._queues) == (0, 0, {})


def levels(*shapes: Shape) -> tuple[Seats, list[Level]]:
    found = [Level(shape) for shape in shapes]
    return Seats(100, found), found


def take(seats: Seats, level: Level, width: int = 1) -> bool:
    if not seats.may_take(level, width):
        return False
    level.in_use += width
    seats.in_use += width
    return True


def taken(seats: Seats, level: Level) -> int:
    """So many seats a level gets that wants all."""
    count = 0
    while count < 1000 and take(seats, level):
        count += 1
    return count


def test_seats_follow_from_shares() -> None:
    _, found = levels(Shape("a", shares=30), Shape("b", shares=10), Shape("c", True))
    assert [level.seats for level in found] == [75, 25, 0]


def test_a_level_borrows_what_others_lend_and_no_more() -> None:
    seats, (own, other) = levels(Shape("own", shares=1), Shape("other", shares=1, lendable_percent=40))
    assert taken(seats, own) == 50 + 20
    # What is not lent is there for its owner at once.
    assert taken(seats, other) == 30


def test_a_level_borrows_no_more_than_it_may() -> None:
    seats, (own, _) = levels(Shape("own", shares=1, borrowing_percent=10), Shape("other", shares=1, lendable_percent=100))
    assert taken(seats, own) == 55


def test_who_lends_has_it_back_as_it_comes_free() -> None:
    seats, (own, other) = levels(Shape("own", shares=1), Shape("other", shares=1, lendable_percent=100))
    assert taken(seats, own) == 100
    # One at least begins, so that nobody is shut out.
    assert take(seats, other)
    assert not take(seats, other)
    own.in_use -= 2
    seats.in_use -= 2
    assert take(seats, other)


def test_what_is_wider_than_a_level_is_let_in_alone() -> None:
    seats, (small, _) = levels(Shape("small", shares=1, borrowing_percent=0), Shape("other", shares=49))
    assert small.seats == 2
    assert take(seats, small, 10)
    assert not take(seats, small)
