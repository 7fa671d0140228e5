from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.client.workqueue import Delays, WorkQueue
from tests.support.loops import new_uvloop
from tests.support.virtual_time import run, virtual_time


@virtual_time
async def test_a_waiting_key_is_queued_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for key in "aab":
        queue.add(key)
    assert len(queue) == 2
    assert [await queue.get(), await queue.get()] == ["a", "b"]


@virtual_time
async def test_a_key_added_while_at_work_comes_back_afterwards() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    await queue.get()
    queue.add("a")
    getter = asyncio.ensure_future(queue.get())
    await asyncio.sleep(1)
    assert not getter.done() and queue.running == 1
    queue.done("a")
    assert await getter == "a"


@virtual_time
async def test_a_cancelled_getter_passes_its_turn_on() -> None:
    queue: WorkQueue[str] = WorkQueue()
    first, second = asyncio.ensure_future(queue.get()), asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    async with asyncio.timeout(1):
        assert await second == "a"


@virtual_time
async def test_the_earliest_delay_counts() -> None:
    fired: list[tuple[str, float]] = []
    loop = asyncio.get_running_loop()
    delays: Delays[str] = Delays(lambda key: fired.append((key, loop.time())))
    delays.set("a", 10)
    delays.set("a", 5)
    delays.set("a", 7)
    delays.set("b", 1)
    delays.cancel("b")
    assert delays.remaining("a") == 5 and delays.remaining("b") is None
    await asyncio.sleep(100)
    assert fired == [("a", 5.0)] and len(delays) == 0


def test_a_delay_that_is_over_at_once_may_be_asked_about() -> None:
    """By uvloop, which components run on."""

    async def main() -> None:
        fired: list[str] = []
        delays: Delays[str] = Delays(fired.append)
        delays.set("a", 0.0)
        delays.set("a", 5.0)
        assert delays.remaining("a") == 0.0
        while not fired:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert (fired, len(delays)) == (["a"], 0)

    with asyncio.Runner(loop_factory=new_uvloop) as runner:
        runner.run(main())


@given(st.lists(st.tuples(st.floats(0, 3), st.sampled_from("abc")), max_size=30), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_no_key_is_lost_or_runs_twice_at_once(adds: list[tuple[float, str]], workers: int) -> None:
    """Every add is followed by a run that starts at or after it."""

    async def scenario() -> None:
        queue: WorkQueue[str] = WorkQueue()
        loop = asyncio.get_running_loop()
        starts: dict[str, list[float]] = {}
        running: set[str] = set()

        async def work() -> None:
            while True:
                key = await queue.get()
                assert key not in running
                running.add(key)
                starts.setdefault(key, []).append(loop.time())
                await asyncio.sleep(0.5)
                running.remove(key)
                queue.done(key)

        tasks = [asyncio.ensure_future(work()) for _ in range(workers)]
        for at, key in sorted(adds):
            await asyncio.sleep(max(at - loop.time(), 0))
            queue.add(key)
        await asyncio.sleep(60)
        for task in tasks:
            assert not task.done()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for at, key in adds:
            assert max(starts[key]) >= at - 1e-6
        assert len(queue) == 0 and queue.running == 0

    run(scenario())
