"""Watchers of objects with a value: who is woken, where they go on, and that nothing is missed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from services.apiserver.cache.collection import Collection
from services.apiserver.cache.history import Limits, Overrun
from services.apiserver.cache.terms import NAME, Field, Term
from services.apiserver.entry import Entry
from tests.support.virtual_time import virtual_time

PODS = version_of(core.Pod)
SECONDS = 60.0


class _Rules:
    """Notes whose fields it was asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def selectable_fields(self, obj: Any) -> Mapping[str, str]:
        self.asked += 1
        return {"spec.nodeName": obj.spec.node_name}


RULES = _Rules()


def of_node(name: str) -> Term:
    return Term(Field(RULES, "spec.nodeName"), name)


def pod(name: str, node: str, revision: int) -> Entry:
    found = core.Pod()
    found.metadata.name, found.metadata.namespace, found.spec.node_name = name, "default", node
    return Entry(PODS, f"{PODS.resource.key_prefix}default/{name}", revision, found.SerializeToString())


class _Pods:
    def __init__(self, limits: Limits | None = None) -> None:
        self.collection = Collection(PODS.resource, 0, limits or Limits())
        self.revision = 0

    def put(self, name: str, node: str) -> None:
        self.revision += 1
        self.collection.put(pod(name, node, self.revision), 0.0)
        self.collection.wake()

    def remove(self, name: str) -> None:
        self.revision += 1
        self.collection.remove(f"{PODS.resource.key_prefix}default/{name}", self.revision, 0.0)
        self.collection.wake()

    def waits(self, node: str) -> asyncio.Task[int | None]:
        return asyncio.create_task(self.collection.terms.wait(of_node(node), SECONDS))


async def _turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


@virtual_time
async def test_only_they_are_woken_whom_a_change_concerns() -> None:
    pods = _Pods()
    a, also_a, b = pods.waits("a"), pods.waits("a"), pods.waits("b")
    await _turn()
    pods.put("elsewhere", "c")
    pods.put("waiting", "")
    await _turn()
    assert not (a.done() or also_a.done() or b.done())
    pods.put("elsewhere", "a")
    await _turn()
    assert (a.result(), also_a.result(), b.done()) == (2, 2, False)
    again = pods.waits("a")
    await _turn()
    # It leaves a node, as it comes to one.
    pods.put("elsewhere", "b")
    await _turn()
    assert (again.result(), b.result()) == (3, 3)
    b = pods.waits("b")
    await _turn()
    pods.remove("elsewhere")
    await _turn()
    assert b.result() == 4


@virtual_time
async def test_a_name_is_a_value_that_is_known_without_reading_the_object() -> None:
    pods = _Pods()
    terms, before = pods.collection.terms, RULES.asked
    own = asyncio.create_task(terms.wait(Term(Field(RULES, NAME), "own"), SECONDS))
    await _turn()
    pods.put("other", "a")
    await _turn()
    assert not own.done()
    pods.put("own", "a")
    await _turn()
    assert (own.result(), RULES.asked) == (1, before)


@virtual_time
async def test_of_changes_that_are_told_at_once_the_first_counts() -> None:
    pods = _Pods()
    pods.put("before", "a")
    b = pods.waits("b")
    await _turn()
    for number, node in enumerate("cbb", 2):
        pods.collection.put(pod(f"p{number}", node, number), 0.0)
    pods.collection.wake()
    await _turn()
    assert b.result() == 1


@virtual_time
async def test_who_was_not_woken_does_not_miss_what_the_history_has_let_go() -> None:
    pods = _Pods(Limits(count=4))
    a = pods.waits("a")
    await _turn()
    for number in range(100):
        pods.put(f"p{number}", "b")
    pods.put("own", "a")
    await _turn()
    position = a.result()
    assert position is not None
    assert [change.event.entry.name for change in pods.collection.history.since(position, 10) if change.event.entry] == ["own"]
    with pytest.raises(Overrun):
        pods.collection.history.since(0, 10)


@virtual_time
async def test_when_its_time_is_up_it_goes_on_from_there() -> None:
    pods = _Pods()
    a = pods.waits("a")
    await _turn()
    pods.put("other", "b")
    assert await a == 1
    # What comes between the end of its time and its turn is behind that place.
    late = pods.waits("a")
    await _turn()
    asyncio.get_running_loop().call_later(SECONDS, pods.put, "own", "a")
    assert await late == 1


@virtual_time
async def test_everybody_is_woken_where_it_is_no_change() -> None:
    pods = _Pods()
    for shake in (
        lambda: pods.collection.replace([], 7),
        pods.collection.close,
        pods.collection.wake,
    ):
        a, b = pods.waits("a"), pods.waits("b")
        await _turn()
        shake()
        await _turn()
        assert (a.result(), b.result()) == (None, None)


@virtual_time
async def test_an_object_that_cannot_be_read_wakes_everybody() -> None:
    """Of all who change and of all who watch only those hear of it who look at it."""
    pods = _Pods()
    a, b = pods.waits("a"), pods.waits("b")
    await _turn()
    pods.collection.put(pod("fine", "a", 1), 0.0)
    pods.collection.put(Entry(PODS, f"{PODS.resource.key_prefix}default/broken", 2, b"\xff"), 0.0)
    pods.collection.wake()
    await _turn()
    assert (a.result(), b.result()) == (0, 0)
    # Whoever waits then hears of the next change as ever.
    b = pods.waits("b")
    await _turn()
    pods.collection.put(pod("other", "b", 3), 0.0)
    pods.collection.wake()
    await _turn()
    assert b.result() == 2


@virtual_time
async def test_nothing_is_kept_of_who_has_left_nor_looked_at_for_nobody() -> None:
    pods = _Pods()
    left = pods.waits("a")
    await _turn()
    left.cancel()
    await _turn()
    before = RULES.asked
    pods.put("own", "a")
    assert RULES.asked == before
    assert not pods.collection.terms._waiting and not pods.collection.terms._untold


@pytest.mark.parametrize("seed", range(20))
@virtual_time
async def test_each_sees_all_of_its_own_and_nothing_twice(seed: int) -> None:
    """Watchers of three nodes, each at its own pace, against the changes as they were made."""
    chance, pods, nodes = random.Random(seed), _Pods(Limits(count=1_000)), ["a", "b", ""]
    where: dict[str, str] = {}
    told: dict[str, list[int]] = {node: [] for node in nodes}
    seen: dict[str, list[int]] = {node: [] for node in nodes}

    async def follow(node: str) -> None:
        position, terms = 0, pods.collection.terms
        while True:
            for change in pods.collection.history.since(position, 1_000):
                position += 1
                if change.event.entry is not None and of_node(node).field.of(change.event.entry) == node:
                    seen[node].append(change.event.revision)
            found = await terms.wait(of_node(node), chance.uniform(0.1, 5))
            position = position if found is None else max(position, found)
            if chance.random() < 0.3:
                await asyncio.sleep(chance.uniform(0, 3))

    following = [asyncio.create_task(follow(node)) for node in nodes]
    for _ in range(300):
        name = chance.choice("uvwxyz")
        if name in where and chance.random() < 0.3:
            told[where.pop(name)].append(pods.revision + 1)
            pods.remove(name)
        else:
            where[name] = chance.choice(nodes)
            told[where[name]].append(pods.revision + 1)
            pods.put(name, where[name])
        if chance.random() < 0.5:
            await asyncio.sleep(chance.choice((0, 0, 0.1, 2)))
    await asyncio.sleep(20)
    assert seen == told
    for task in following:
        task.cancel()
