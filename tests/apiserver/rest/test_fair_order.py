"""Between two pieces of a quiet caller's work there is one of a noisy caller's at most, whatever he does many times at once."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import pytest

from services.apiserver.fairness.paced import Paced
from services.apiserver.fairness.rounds import AT_ONCE, Rounds
from services.apiserver.rest.pieces import PIECE_BYTES
from services.apiserver.rest.protocol import MAX_AHEAD, Protocol
from tests.apiserver.rest.connections import Crowded, FakeTransport, asking

NOISY = 100
# Turns of the loop in which a request that waits for nothing is answered, and some more.
TURNS = 8


class Side(NamedTuple):
    """A connection's two ends."""

    transport: FakeTransport
    served: Protocol

    def ask(self, user: str, times: int = 1) -> None:
        self.served.data_received(asking(user) * times)

    @property
    def answers(self) -> int:
        return len(self.transport.written)


async def met(crowded: Crowded, connections: int = NOISY) -> tuple[list[Side], Side]:
    """Those of a noisy caller and that of a quiet one, who have met; nothing is under way."""
    noisy, quiet = [Side(*crowded.connect()) for _ in range(connections)], Side(*crowded.connect())
    for side in (*noisy, quiet, quiet, noisy[0]):
        side.ask("quiet" if side is quiet else "noisy")
        await crowded.rest()
    for side in (*noisy, quiet):
        side.transport.written.clear()
    return noisy, quiet


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def answered(noisy: list[Side]) -> int:
    return sum(side.answers for side in noisy)


async def test_a_caller_with_many_connections_does_not_hold_up_another() -> None:
    crowded = Crowded(b"body")
    noisy, quiet = await met(crowded)
    for side in noisy:
        side.ask("noisy")
    quiet.ask("quiet")
    await turns(TURNS)
    assert quiet.answers == 1
    assert answered(noisy) <= TURNS * AT_ONCE
    await crowded.rest()
    assert [side.answers for side in noisy] == [1] * NOISY


async def test_many_who_have_waited_for_the_same_do_not_go_on_before_another() -> None:
    """The store answers all of them at once, and the quiet one has asked last."""
    stored: asyncio.Future[None] | None = None

    async def store() -> None:
        if stored is not None:
            await asyncio.shield(stored)

    crowded = Crowded(b"body", store)
    noisy, quiet = await met(crowded)
    stored = asyncio.get_running_loop().create_future()
    for side in noisy:
        side.ask("noisy")
    await crowded.rest()
    quiet.ask("quiet")
    await crowded.rest()
    assert answered(noisy) == quiet.answers == 0
    stored.set_result(None)
    await turns(TURNS)
    assert quiet.answers == 1
    assert 0 < answered(noisy) <= TURNS * AT_ONCE
    await crowded.rest()
    assert [side.answers for side in noisy] == [1] * NOISY


async def test_requests_that_are_sent_ahead_have_no_more_turns() -> None:
    crowded = Crowded(b"body")
    noisy, quiet = await met(crowded, 3)
    for side in noisy:
        side.ask("noisy", MAX_AHEAD)
    await turns(TURNS)
    before = answered(noisy)
    quiet.ask("quiet")
    await turns(TURNS)
    assert quiet.answers == 1
    assert 0 < answered(noisy) - before <= TURNS * AT_ONCE
    await crowded.rest()
    assert [side.answers for side in noisy] == [MAX_AHEAD] * 3


async def test_large_answers_of_one_caller_leave_in_turns_too() -> None:
    crowded = Crowded(b"x" * (4 * PIECE_BYTES))
    noisy, quiet = await met(crowded, 20)
    for side in noisy:
        side.ask("noisy")
    await turns(TURNS)
    before = answered(noisy)
    quiet.ask("quiet")
    await turns(2 * TURNS)
    # Head, pieces and end.
    pieces = quiet.answers
    assert pieces > 4
    assert 0 < answered(noisy) - before <= 2 * TURNS * AT_ONCE * pieces / 4
    await crowded.rest()
    assert {side.answers for side in noisy} == {pieces}


async def test_what_follows_a_request_whose_turn_has_not_come_stays_behind_it() -> None:
    crowded = Crowded(b"body")
    connections, _ = await met(crowded, AT_ONCE + 1)
    for side in connections:
        side.served.data_received(asking("noisy", b"x" * 10)[:-5])
    held = connections[-1]
    held.served.data_received(b"x" * 5 + asking("noisy"))
    await crowded.rest()
    assert held.answers == 2
    # Those whose turn had come wait for the rest of theirs, which is not held up.
    for side in connections[:-1]:
        side.served.data_received(b"x" * 5)
    await crowded.rest()
    assert [side.answers for side in connections[:-1]] == [1] * AT_ONCE


async def test_who_is_gone_when_his_turn_comes_is_passed_over() -> None:
    crowded = Crowded(b"body")
    await met(crowded, 1)
    connections = [Side(*crowded.connect()) for _ in range(AT_ONCE + 2)]
    for side in connections:
        side.ask("")
    connections[-2].served.connection_lost(None)
    await crowded.rest()
    assert [side.answers for side in connections] == [1] * AT_ONCE + [0, 1]


class Somebody:
    caller, is_ongoing = "noisy", False


async def mixed() -> Rounds:
    """In which two callers have met, and one has done what he may in this turn."""
    rounds = Rounds()
    assert rounds.admits("quiet") and rounds.admits("noisy")
    while rounds.admits("noisy"):
        pass
    return rounds


@pytest.mark.parametrize("is_admitted", [True, False], ids=["admitted", "not-admitted"])
@pytest.mark.parametrize("waited", [0, 1, 2])
async def test_who_is_ended_while_he_waits_for_his_turn_hears_of_it(is_admitted: bool, waited: int) -> None:
    """Wherever it is: what he has taken is given back."""
    rounds, told = await mixed(), list[str]()

    async def answering() -> None:
        told.append("begun")
        try:
            for _ in range(3):
                await asyncio.sleep(0)
        finally:
            told.append("over")

    async def run() -> None:
        await Paced(rounds, Somebody(), answering(), is_admitted=is_admitted)

    task = asyncio.create_task(run())
    await turns(waited)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told in (["begun", "over"], [])
    assert is_admitted is False or waited == 0 or told


async def test_what_goes_on_for_as_long_as_somebody_listens_takes_no_turns() -> None:
    rounds, somebody = await mixed(), Somebody()
    steps = 0

    async def answering() -> None:
        nonlocal steps
        somebody.is_ongoing = True
        for _ in range(5):
            await asyncio.sleep(0)
            steps += 1
            while rounds.admits("noisy"):
                pass

    async def run() -> None:
        await Paced(rounds, somebody, answering(), is_admitted=True)

    task = asyncio.create_task(run())
    await turns(6)
    assert steps == 5
    await task


async def test_what_goes_on_comes_before_what_begins() -> None:
    rounds, done = await mixed(), list[str]()

    class Begins:
        is_over = False

        def begin(self) -> None:
            done.append("begins")

    for _ in range(2 * AT_ONCE):
        rounds.keep("noisy", Begins())
    turn = rounds.goes_on("noisy")
    assert turn is not None
    turn.add_done_callback(lambda _: done.append("goes on"))
    await turns(3)
    assert done[0] == "goes on"
