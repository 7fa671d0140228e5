"""Waiting no longer than a request's caller does, without a timer for what need not wait."""

from __future__ import annotations

import asyncio
import math

import pytest

from knarr.machinery.errors import Timeout
from services.apiserver.deadline import LOOK_SECONDS, Patience, TimeIsUp, within
from tests.support.virtual_time import virtual_time


async def answer(seconds: float | None, value: str = "answer") -> str:
    if seconds is not None:
        await asyncio.sleep(seconds)
        await asyncio.sleep(seconds)
    return value


def timers() -> int:
    return len(asyncio.get_running_loop()._scheduled)  # type: ignore[attr-defined]


@virtual_time
async def test_the_answer_comes_whether_it_is_waited_for_or_not() -> None:
    for seconds in (None, 0, 2):
        assert await within(asyncio.get_running_loop().time() + 5, answer(seconds), "it") == "answer"
    assert await within(math.inf, answer(1000), "it") == "answer"


@virtual_time
async def test_whoever_comes_too_late_is_named() -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises(Timeout, match="it was waiting for the plugin Slow") as caught:
        await within(loop.time() + 3, answer(2), "the plugin Slow")
    assert (loop.time(), caught.value.code) == (3, 504)
    with pytest.raises(Timeout):
        await within(loop.time() - 1, answer(2), "what begins too late")


@virtual_time
async def test_no_timer_is_set_for_what_need_not_wait() -> None:
    before = timers()

    async def at_once() -> int:
        return timers()

    assert await within(asyncio.get_running_loop().time() + 3, at_once(), "it") == before


@virtual_time
async def test_errors_pass_whole() -> None:
    async def fail(seconds: float | None, error: BaseException) -> None:
        await answer(seconds)
        raise error

    for seconds in (None, 1):
        for error in (KeyError("x"), TimeoutError("of its own")):
            with pytest.raises(type(error)) as caught:
                await within(asyncio.get_running_loop().time() + 5, fail(seconds, error), "it")
            assert caught.value is error


@virtual_time
async def test_a_cancelled_wait_ends_as_one() -> None:
    cleaned: list[str] = []

    async def careful() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(0)
            cleaned.append("cleaned")

    task = asyncio.create_task(within(1000.0, careful(), "it"))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned == ["cleaned"] and asyncio.get_running_loop().time() == 1


@virtual_time
async def test_those_who_wait_together_each_end_at_their_own_time() -> None:
    """What is looked at together with others ends a moment late at most."""
    loop, patience, ends = asyncio.get_running_loop(), Patience(), []

    async def wait(end: float, seconds: float) -> None:
        try:
            await patience.until(end, asyncio.sleep(seconds))
        except TimeIsUp:
            ends.append((end, loop.time()))

    await asyncio.gather(*(wait(end, 60) for end in (5.0, 0.1, 3.0, 0.0)), wait(4.0, 1))
    assert sorted(end for end, _ in ends) == [0.0, 0.1, 3.0, 5.0]
    assert all(0 <= at - end <= LOOK_SECONDS for end, at in ends)
    await asyncio.sleep(1)
    assert not patience._looking


@virtual_time
async def test_a_wait_answers_and_fails_as_what_it_waits_for() -> None:
    patience = Patience()

    async def failing(error: BaseException) -> None:
        await asyncio.sleep(1)
        raise error

    assert await patience.until(5, asyncio.sleep(1, "answer")) == "answer"
    # Its own end of time is not ours.
    with pytest.raises(TimeoutError) as caught:
        await patience.until(5, failing(TimeoutError()))
    assert not isinstance(caught.value, TimeIsUp)
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0


@virtual_time
@pytest.mark.parametrize("at", [0.5, 1.0, 1.0 + LOOK_SECONDS])
async def test_who_is_ended_while_they_wait_ends(at: float) -> None:
    """Before the time is up, at that moment, and behind it, where what is waited for takes its time to end."""
    patience = Patience()

    async def slow_to_end() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(1)

    task = asyncio.create_task(patience.until(1, slow_to_end()))
    await asyncio.sleep(at)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not patience._waits


@virtual_time
async def test_who_does_not_let_themselves_be_ended_is_not_ended_later() -> None:
    patience = Patience()

    async def stubborn() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
        return "done"

    assert await patience.until(1, stubborn()) == "done"
    await asyncio.sleep(1)
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0
