from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.client.leader import Election, LeaderElector, Leadership, LeaseSettings
from knarr.machinery.errors import ServiceUnavailable, status_error
from tests.support.api import FaultyApi, FaultyClient
from tests.support.virtual_time import VirtualClock, virtual_time


class Wire(FaultyClient):
    """A client whose connection can be cut."""

    cut = False

    async def _begin(self, *args: Any, **kwargs: Any) -> None:
        if self.cut:
            raise status_error("ServiceUnavailable", "cut")
        await super()._begin(*args, **kwargs)


class Candidate:
    """An elector with its work, which checks that nobody else works at the same time."""

    at_work: set[str]

    def __init__(self, api: FaultyApi, name: str, at_work: set[str]) -> None:
        self.wire = Wire(api)
        self.name = name
        self.at_work = at_work
        self.terms: list[float] = []
        self.elector = LeaderElector(self.wire, "lock", name, clock=VirtualClock(), source=random.Random(name))
        self.task = asyncio.ensure_future(self.elector.run(self.lead))

        self.ends: list[float] = []

    async def lead(self) -> None:
        assert not self.at_work, f"{self.name} starts while {self.at_work} works"
        self.at_work.add(self.name)
        self.terms.append(asyncio.get_running_loop().time())
        try:
            await asyncio.Event().wait()
        finally:
            self.at_work.discard(self.name)
            self.ends.append(asyncio.get_running_loop().time())

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def candidates(api: FaultyApi, *names: str) -> AsyncIterator[Any]:
    at_work: set[str] = set()
    found = [Candidate(api, name, at_work) for name in names]
    try:
        yield found
    finally:
        for candidate in found:
            await candidate.stop()


@virtual_time
async def test_one_of_two_leads_and_a_released_lease_passes_at_once() -> None:
    api = FaultyApi(VirtualClock())
    async for first, second in candidates(api, "a", "b"):
        await asyncio.sleep(60)
        assert first.at_work == {"a"} and first.elector.is_leader and not second.elector.is_leader
        assert second.elector.holder == "a"
        await first.stop()
        started = asyncio.get_running_loop().time()
        await asyncio.sleep(5)
        assert second.at_work == {"b"} and second.terms[0] == started
        [lease] = api.all(coordination.Lease)
        assert lease.spec.holder_identity == "b" and lease.spec.lease_duration_seconds == 15
        assert lease.spec.HasField("acquire_time") and lease.spec.HasField("renew_time")


@virtual_time
async def test_a_partitioned_leader_stops_before_another_starts() -> None:
    api = FaultyApi(VirtualClock())
    async for first, second in candidates(api, "a", "b"):
        await asyncio.sleep(30)
        first.wire.cut = True
        cut_at = asyncio.get_running_loop().time()
        await asyncio.sleep(30)
        assert 8 <= first.ends[0] - cut_at <= 10
        assert first.at_work == {"b"} and 13 <= second.terms[0] - cut_at <= 18
        first.wire.cut = False
        await asyncio.sleep(60)
        assert first.at_work == {"b"}
        [lease] = api.all(coordination.Lease)
        assert lease.spec.lease_transitions == 1


@virtual_time
async def test_a_short_outage_keeps_the_leader() -> None:
    api = FaultyApi(VirtualClock())
    async for first, second in candidates(api, "a", "b"):
        await asyncio.sleep(30)
        first.wire.cut = second.wire.cut = True
        await asyncio.sleep(5)
        first.wire.cut = second.wire.cut = False
        await asyncio.sleep(60)
        assert len(first.terms) == 1 and second.terms == []


@virtual_time
async def test_a_crashed_leader_is_followed_after_the_lease() -> None:
    api = FaultyApi(VirtualClock())
    async for first, second in candidates(api, "a", "b"):
        await asyncio.sleep(30)
        first.wire.cut = True
        await first.stop()
        stopped = asyncio.get_running_loop().time()
        await asyncio.sleep(20)
        assert second.at_work == {"b"} and 12 <= second.terms[0] - stopped <= 15


@virtual_time
async def test_a_candidate_that_cannot_watch_asks_at_every_period() -> None:
    api = FaultyApi(VirtualClock())
    api.fail_next(status_error("ServiceUnavailable", "no watches"), verb="watch", times=1000)
    async for first, second in candidates(api, "a", "b"):
        await asyncio.sleep(30)
        await first.stop()
        stopped = asyncio.get_running_loop().time()
        await asyncio.sleep(10)
        assert second.at_work == {"b"} and 0 < second.terms[0] - stopped < 3


@virtual_time
async def test_two_who_wait_for_the_same_lease_do_not_both_get_it() -> None:
    api = FaultyApi(VirtualClock())
    api.latency_seconds = 0.01
    async for first, second, third in candidates(api, "a", "b", "c"):
        await asyncio.sleep(30)
        await first.stop()
        await asyncio.sleep(5)
        assert len(second.at_work) == 1 and len(second.terms) + len(third.terms) == 1


@virtual_time
async def test_leadership_stands_by_until_it_leads() -> None:
    api = FaultyApi(VirtualClock())
    at_work: list[str] = []

    async def work(name: str) -> None:
        at_work.append(name)
        await asyncio.Event().wait()

    first, second = (Leadership(api.client(), "lock", Election(name, held=True), clock=VirtualClock()) for name in "ab")
    tasks = [asyncio.create_task(first.run(lambda: work("a")))]
    await asyncio.sleep(5)
    tasks.append(asyncio.create_task(second.run(lambda: work("b"))))
    await asyncio.sleep(5)
    assert at_work == ["a"] and not first.standing_by and second.standing_by
    for task in tasks:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(1)
    assert at_work == ["a", "b"] and not second.standing_by


@virtual_time
async def test_without_an_election_the_work_runs_at_once() -> None:
    api = FaultyApi(VirtualClock())

    async def work() -> None:
        assert not leadership.standing_by

    leadership = Leadership(api.client(), "lock", Election("a"))
    await leadership.run(work)
    assert api.all(coordination.Lease) == []


@virtual_time
async def test_work_that_fails_ends_the_run_and_frees_the_lease() -> None:
    api = FaultyApi(VirtualClock())

    async def fail() -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        await LeaderElector(api.client(), "lock", "a", clock=VirtualClock()).run(fail)
    [lease] = api.all(coordination.Lease)
    assert lease.spec.holder_identity == ""


def named(name: str) -> core.ConfigMap:
    made = core.ConfigMap()
    made.metadata.name, made.metadata.namespace = name, "default"
    return made


async def write_all(client: Client) -> list[str]:
    """Tries each kind of write; answers which were refused."""
    await asyncio.sleep(0)
    patch = {"data": {"a": "b"}}
    writes = {
        "create": lambda: client.create(named("two")),
        "update": lambda: client.update(named("one")),
        "patch": lambda: client.patch(core.ConfigMap, "one", "default", patch=patch),
        "delete": lambda: client.delete(core.ConfigMap, "one", "default"),
    }
    refused = []
    for name, write in writes.items():
        try:
            await write()
        except ServiceUnavailable:
            refused.append(name)
    return refused


@virtual_time
async def test_a_leader_whose_machine_slept_writes_nothing_until_it_leads_anew() -> None:
    api, clock = FaultyApi(VirtualClock()), VirtualClock()
    leadership = Leadership(api.client(), "lock", Election("a", held=True), clock=clock)
    client = leadership.guarded(api.client())
    terms: list[float] = []

    async def work() -> None:
        terms.append(asyncio.get_running_loop().time())
        await asyncio.Event().wait()

    assert await write_all(client) == ["create", "update", "patch", "delete"]
    running = asyncio.create_task(leadership.run(work))
    await asyncio.sleep(31)
    await client.create(named("one"))
    # The loop's own clock does not count it, as CLOCK_MONOTONIC does not.
    clock.slept += LeaseSettings().renew_deadline_seconds
    assert await write_all(client) == ["create", "update", "patch", "delete"]
    assert (await client.get(core.ConfigMap, "one", "default")).metadata.name == "one"
    assert [found.metadata.name for found in (await client.list(core.ConfigMap)).items] == ["one"]
    await asyncio.sleep(5)
    assert len(terms) == 2 and await write_all(client) == []
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert await write_all(client) == ["create", "update", "patch", "delete"]


@virtual_time
async def test_a_renewal_that_came_too_late_is_no_renewal() -> None:
    """The machine sleeps while the renewal is under way: its answer is about a time that is over."""
    api, clock = FaultyApi(VirtualClock()), VirtualClock()
    api.latency_seconds = 1.0
    leadership = Leadership(api.client(), "lock", Election("a", held=True), clock=clock)
    terms: list[float] = []
    began = asyncio.Event()

    async def work() -> None:
        terms.append(asyncio.get_running_loop().time())
        began.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(leadership.run(work))
    await began.wait()
    await asyncio.sleep(LeaseSettings().retry_seconds + 0.5)
    clock.slept += LeaseSettings().renew_deadline_seconds
    await asyncio.sleep(10)
    assert len(terms) == 2
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@virtual_time
async def test_without_an_election_every_write_is_allowed() -> None:
    api = FaultyApi(VirtualClock())
    client = api.client()
    leadership = Leadership(client, "lock", Election("a"))
    assert leadership.guarded(client) is client
    assert leadership.allow() == math.inf
