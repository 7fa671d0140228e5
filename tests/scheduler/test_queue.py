from __future__ import annotations

import asyncio

import pytest

from services.scheduler.pod_facts import PodFacts
from services.scheduler.queue import SchedulingQueue, State
from services.scheduler.settings import SchedulerSettings
from tests.scheduler.objects import pod
from tests.support.virtual_time import virtual_time


def facts(name: str, priority: int = 0, cpu: str = "") -> PodFacts:
    return PodFacts.of(pod(name, priority=priority, cpu=cpu))


def new_queue() -> SchedulingQueue:
    return SchedulingQueue(SchedulerSettings(), asyncio.get_running_loop().time)


def now() -> float:
    return asyncio.get_running_loop().time()


@virtual_time
async def test_priority_goes_before_age() -> None:
    queue = new_queue()
    for name, priority in (("old", 0), ("urgent", 10), ("young", 0)):
        queue.put(facts(name, priority))
        await asyncio.sleep(1)
    assert [(await queue.take()).pod.key.name for _ in range(3)] == ["urgent", "old", "young"]


@virtual_time
async def test_failed_pods_pause_one_to_ten_seconds() -> None:
    queue = new_queue()
    queue.put(facts("a"))
    pauses = []
    for _ in range(6):
        waiting = await queue.take()
        failed = now()
        queue.retry(waiting)
        queue.validate()
        await queue.take()
        pauses.append(round(now() - failed, 3))
        waiting.state = State.TAKEN
        queue._activate(waiting)
    assert pauses == [1, 2, 4, 8, 10, 10]


@virtual_time
async def test_unschedulable_pods_wait_for_a_change_that_helps() -> None:
    queue = new_queue()
    queue.put(facts("a"))
    queue.refuse(await queue.take(), frozenset({"Resources"}))
    [waiting] = queue.entries()
    assert queue.retry_in_seconds(waiting) == 300
    await asyncio.sleep(60)
    queue.changed(lambda waiting: "Taints" in waiting.refused_by)
    assert waiting.state.name == "UNSCHEDULABLE"
    queue.changed(lambda waiting: "Resources" in waiting.refused_by)
    assert waiting.state is State.ACTIVE
    queue.validate()


@virtual_time
async def test_a_change_does_not_shorten_the_pause() -> None:
    queue = new_queue()
    queue.put(facts("a"))
    queue.refuse(await queue.take(), frozenset({"Resources"}))
    queue.changed(lambda waiting: True)
    [waiting] = queue.entries()
    assert waiting.state is State.BACKOFF
    async with asyncio.timeout(5):
        await queue.take()
    assert now() == pytest.approx(1)


@virtual_time
async def test_unschedulable_pods_are_tried_after_five_minutes_anyway() -> None:
    queue = new_queue()
    queue.put(facts("a"))
    queue.refuse(await queue.take(), frozenset({"Resources"}))
    await queue.take()
    assert now() == pytest.approx(300)


@virtual_time
async def test_a_removed_pod_is_not_handed_out_nor_put_back() -> None:
    queue = new_queue()
    for name in "ab":
        queue.put(facts(name))
    queue.remove(facts("a").key)
    waiting = await queue.take()
    assert waiting.pod.key.name == "b"
    queue.remove(waiting.pod.key)
    queue.refuse(waiting, frozenset())
    queue.retry(waiting)
    assert len(queue) == 0
    queue.validate()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1000):
            await queue.take()
