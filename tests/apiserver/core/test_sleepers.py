"""Sleepers: each wake and each alarm calls everybody once, a few in a turn, and nobody who has left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from services.apiserver.cache.sleepers import GRAIN_SECONDS, MANY, PAUSE_SECONDS, TURN, Sleepers
from tests.support.virtual_time import virtual_time


class Noting:
    """Notes when it was called; then does what it is told."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.called_at: list[float] = []
        self._then = then

    def woken(self) -> None:
        self.called_at.append(asyncio.get_running_loop().time())
        self._then()


@virtual_time
async def test_who_was_woken_has_left() -> None:
    sleepers, sleeper = Sleepers(), Noting()
    sleepers.enter(sleeper, 1000.0)
    sleepers.wake()
    sleepers.wake()
    await asyncio.sleep(0.001)
    sleepers.wake()
    await asyncio.sleep(2000.0)
    assert len(sleeper.called_at) == 1


@virtual_time
async def test_who_leaves_is_not_called() -> None:
    sleepers, sleeper = Sleepers(), Noting()
    sleepers.enter(sleeper, 5.0)
    sleepers.leave(sleeper)
    sleepers.leave(sleeper)
    sleepers.wake()
    await asyncio.sleep(10.0)
    assert sleeper.called_at == []


@virtual_time
async def test_alarms_ring_in_order_and_no_later_than_their_grain() -> None:
    sleepers = Sleepers()
    alarms = [7.0, 3.0, 3.01, 3.02, 50.0, 0.0]
    all_of_them = [Noting() for _ in alarms]
    for sleeper, alarm_at in zip(all_of_them, alarms, strict=True):
        sleepers.enter(sleeper, alarm_at)
    await asyncio.sleep(60.0)
    for sleeper, alarm_at in zip(all_of_them, alarms, strict=True):
        [called_at] = sleeper.called_at
        assert alarm_at <= called_at <= alarm_at + 2 * GRAIN_SECONDS


@virtual_time
async def test_many_are_called_over_several_turns() -> None:
    """So whoever else has something to do comes in between."""
    sleepers = Sleepers()
    all_of_them = [Noting() for _ in range(4 * TURN)]
    for sleeper in all_of_them:
        sleepers.enter(sleeper, 1000.0)
    sleepers.wake()
    seen = []
    while not all(sleeper.called_at for sleeper in all_of_them):
        await asyncio.sleep(0)
        seen.append(sum(bool(sleeper.called_at) for sleeper in all_of_them))
    assert max(after - before for before, after in zip([0, *seen], seen, strict=False)) <= TURN


@virtual_time
async def test_one_that_asks_to_be_called_at_once_lets_the_others_in() -> None:
    sleepers = Sleepers()
    greedy = Noting(lambda: sleepers.enter(greedy, 0.0) if len(greedy.called_at) < 1000 else None)
    other = Noting()
    sleepers.enter(greedy, 0.0)
    await asyncio.sleep(0)
    sleepers.enter(other, 0.0)
    for _ in range(5):
        await asyncio.sleep(0)
    assert other.called_at and len(greedy.called_at) < 1000


@virtual_time
async def test_one_that_breaks_stops_nobody() -> None:
    def breaks() -> None:
        raise RuntimeError("broken")

    sleepers, broken, other = Sleepers(), Noting(breaks), Noting()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    sleepers.enter(broken, 1.0)
    await asyncio.sleep(2.0)
    sleepers.enter(other, 3.0)
    await asyncio.sleep(3.0)
    assert broken.called_at and other.called_at


@virtual_time
async def test_very_many_have_pauses_in_which_changes_gather() -> None:
    sleepers, count = Sleepers(), 4 * MANY
    all_of_them = [Noting() for _ in range(count)]
    for sleeper in all_of_them:
        sleepers.enter(sleeper, 1000.0)
    began = asyncio.get_running_loop().time()
    sleepers.wake()
    await asyncio.sleep(count / TURN * PAUSE_SECONDS)
    times = [at - began for sleeper in all_of_them for at in sleeper.called_at]
    # Each once and in the order of their coming; the last of them without pauses.
    assert len(times) == count and times == sorted(times)
    paced = (count - MANY) // TURN
    assert len(set(times)) == paced and max(times) == pytest.approx((paced - 1) * PAUSE_SECONDS)
