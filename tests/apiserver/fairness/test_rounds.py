"""Requests begin in fair order between callers; a caller who is alone is not held up at all."""

from __future__ import annotations

import asyncio

from services.apiserver.fairness.rounds import ALL_AT_ONCE, AT_ONCE, Rounds


class Asking:
    """Somebody's request; what has begun is noted in order."""

    is_over = False

    def __init__(self, name: str, begun: list[str]) -> None:
        self._name, self._begun = name, begun

    def begin(self) -> None:
        self._begun.append(self._name)


def come(rounds: Rounds, begun: list[str], name: str) -> None:
    caller = name.rstrip("0123456789")
    if rounds.admits(caller):
        begun.append(name)
    else:
        rounds.keep(caller, Asking(name, begun))


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_who_is_alone_is_not_held_up() -> None:
    rounds, begun = Rounds(), list[str]()
    for number in range(1000):
        come(rounds, begun, f"one{number}")
    assert len(begun) == 1000


async def test_who_has_not_said_yet_who_it_is_is_nobody_else() -> None:
    rounds, begun = Rounds(), list[str]()
    for number in range(100):
        for name in ("", "one"):
            come(rounds, begun, f"{name}{number}")
    assert len(begun) == 200
    # Where callers have met, those who are not known share one's turns.
    come(rounds, begun, "other")
    for number in range(100):
        come(rounds, begun, f"{number}")
    assert len(begun) == 201 + AT_ONCE


async def test_of_a_caller_who_has_met_others_some_begin_in_each_turn_in_their_order() -> None:
    rounds, begun = Rounds(), list[str]()
    come(rounds, begun, "quiet")
    for number in range(100):
        come(rounds, begun, f"noisy{number}")
    assert begun == ["quiet", *(f"noisy{number}" for number in range(AT_ONCE))]
    for turn in range(1, 100 // AT_ONCE):
        await turns(1)
        assert len(begun) == 1 + (turn + 1) * AT_ONCE
    assert begun[1:] == [f"noisy{number}" for number in range(100)]


async def test_who_has_asked_for_less_begins_at_once() -> None:
    rounds, begun = Rounds(), list[str]()
    come(rounds, begun, "quiet")
    for number in range(100):
        come(rounds, begun, f"noisy{number}")
    await turns(3)
    before = len(begun)
    come(rounds, begun, "quiet")
    assert begun[before:] == ["quiet"]


async def test_what_nobody_waits_for_any_more_takes_no_turn() -> None:
    rounds, begun = Rounds(), list[str]()
    come(rounds, begun, "quiet")
    come(rounds, begun, "noisy0")
    left = [rounds.begins("noisy") for _ in range(100)] + [rounds.goes_on("noisy") for _ in range(100)]
    come(rounds, begun, "noisy1")
    for future in left:
        assert future is not None
        future.cancel()
    await turns(1)
    assert begun == ["quiet", "noisy0", "noisy1"]
    # Nor does it keep anything, or make anybody else wait.
    gone = rounds.begins("noisy")
    assert gone is not None
    gone.cancel()
    await turns(1)
    come(rounds, begun, "noisy2")
    assert begun[-1] == "noisy2" and not rounds._waiting


async def test_callers_take_turns_and_many_of_them_have_bounded_turns() -> None:
    rounds, begun = Rounds(), list[str]()
    callers = [f"caller-{chr(97 + at // 26)}{chr(97 + at % 26)}-" for at in range(40)]
    for number in range(8):
        for caller in callers:
            come(rounds, begun, f"{caller}{number}")
    # The first one had not met anybody yet.
    assert len(begun) == 1 + ALL_AT_ONCE
    while len(begun) < len(callers) * 8:
        before = len(begun)
        await turns(1)
        assert 0 < len(begun) - before <= ALL_AT_ONCE
    for caller in callers:
        assert [name for name in begun if name.startswith(caller)] == [f"{caller}{number}" for number in range(8)]
    # Nobody's second half lies behind all of everybody else's.
    middle = [name.rstrip("0123456789") for name in begun[: len(begun) // 2]]
    assert max(middle.count(caller) for caller in callers) - min(middle.count(caller) for caller in callers) <= 2
