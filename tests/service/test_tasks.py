"""Tasks that should run for ever do not end unnoticed."""

from __future__ import annotations

import asyncio

import pytest

from knarr.service.tasks import SharedTasks, run_together
from tests.support.virtual_time import virtual_time


async def forever(stopped: list[str]) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        stopped.append("stopped")


async def test_an_error_stops_the_others_and_is_raised() -> None:
    stopped: list[str] = []

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await run_together("x", {"a": forever(stopped), "b": fail()})
    assert stopped == ["stopped"]


async def test_a_silent_end_is_an_error_that_names_the_task() -> None:
    async def end() -> None:
        return None

    with pytest.raises(RuntimeError, match="x/b ended"):
        await run_together("x", {"a": forever([]), "b": end()})


async def test_cancelling_stops_all() -> None:
    stopped: list[str] = []
    task = asyncio.create_task(run_together("x", {"a": forever(stopped), "b": forever(stopped)}))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert stopped == ["stopped", "stopped"]


class Work:
    """Ends when ``end`` is set, or by an error that is due."""

    def __init__(self) -> None:
        self.begun, self.end = 0, asyncio.Event()
        self.error: Exception | None = None

    async def do(self) -> int:
        self.begun += 1
        await self.end.wait()
        if self.error is not None:
            raise self.error
        return self.begun


async def waiters(shared: SharedTasks[str, int], work: Work, key: str, count: int) -> list[asyncio.Task[int]]:
    found = [asyncio.create_task(shared.result(key, work.do, "work")) for _ in range(count)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return found


async def test_shared_work_is_done_once_for_all_who_wait_and_anew_for_the_next() -> None:
    shared, work = SharedTasks[str, int](), Work()
    waiting = [*await waiters(shared, work, "a", 8), *await waiters(shared, work, "b", 2)]
    assert work.begun == len(shared) == 2 and "a" in shared and "c" not in shared
    waiting.pop(0).cancel()
    work.end.set()
    assert await asyncio.gather(*waiting) == [2] * 9
    assert not shared and await shared.result("a", work.do, "work") == 3


async def test_an_error_of_shared_work_is_raised_to_all_and_not_kept() -> None:
    shared, work = SharedTasks[str, int](), Work()
    work.error = ValueError("broken")
    waiting = await waiters(shared, work, "a", 2)
    work.end.set()
    assert await asyncio.gather(*waiting, return_exceptions=True) == [work.error] * 2
    work.error = None
    assert not shared and await shared.result("a", work.do, "work") == 2


async def test_closing_ends_shared_work() -> None:
    shared, work = SharedTasks[str, int](), Work()
    [waiting] = await waiters(shared, work, "a", 1)
    await shared.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not shared


@virtual_time
async def test_of_no_parts_none_ends() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3600):
            await run_together("x", {})
