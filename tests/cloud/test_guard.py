"""The guard before a provider: one call at a time for one Service, whoever calls."""

from __future__ import annotations

import asyncio

import pytest

from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.api.core.v1 import core_pb2 as core
from services.cloud.errors import Throttled, Unavailable
from services.cloud.guard import Guard
from tests.cloud.cluster import FakeProvider, service
from tests.support.virtual_time import virtual_time


async def slow(call: str, found: core.Service) -> None:
    await asyncio.sleep(10)


def ensure(guard: Guard, name: str) -> asyncio.Task[cloud.EnsureLoadBalancerResponse]:
    return asyncio.create_task(guard.ensure_load_balancer(cloud.EnsureLoadBalancerRequest(service=service(name))))


@virtual_time
async def test_calls_for_one_service_follow_one_another_and_others_come_beside_them() -> None:
    provider = FakeProvider(before=slow)
    guard = Guard(provider, timeout_seconds=60.0)
    started = asyncio.get_running_loop().time()
    deleted = guard.delete_load_balancer(cloud.DeleteLoadBalancerRequest(service=service("one")))
    await asyncio.gather(ensure(guard, "one"), ensure(guard, "one"), deleted, ensure(guard, "two"))
    assert asyncio.get_running_loop().time() - started == 30.0
    assert provider.calls[:2] == [("ensure", "one"), ("ensure", "two")] and len(provider.calls) == 4


@virtual_time
async def test_a_caller_that_leaves_lets_the_next_one_in() -> None:
    provider = FakeProvider(before=slow)
    guard = Guard(provider, timeout_seconds=60.0)
    first, second = ensure(guard, "one"), ensure(guard, "one")
    await asyncio.sleep(1)
    first.cancel()
    await second
    assert asyncio.get_running_loop().time() == 11.0 and guard.last_error == ""


@virtual_time
async def test_what_takes_too_long_and_what_is_throttled_is_told_in_words() -> None:
    provider = FakeProvider(before=slow)
    guard = Guard(provider, timeout_seconds=5.0)
    with pytest.raises(Unavailable, match="did not answer EnsureLoadBalancer within 5 s"):
        await ensure(guard, "one")

    async def throttle(call: str, found: core.Service) -> None:
        raise Throttled("slow down", retry_after_seconds=20)

    provider.before = throttle
    with pytest.raises(Throttled, match="slow down"):
        await ensure(guard, "one")
    await asyncio.sleep(15)
    with pytest.raises(Throttled) as caught:
        await ensure(guard, "two")
    assert caught.value.retry_after_seconds == 5.0 and provider.count("ensure", "two") == 0
    assert guard.last_error == "slow down"


@virtual_time
async def test_a_provider_that_asks_for_hours_of_silence_gets_minutes() -> None:
    provider = FakeProvider()

    async def throttle(call: str, found: core.Service) -> None:
        raise Throttled("slow down", retry_after_seconds=36_000)

    provider.before = throttle
    guard = Guard(provider, timeout_seconds=5.0)
    with pytest.raises(Throttled) as caught:
        await ensure(guard, "one")
    assert caught.value.retry_after_seconds == 300.0
    provider.before = None
    await asyncio.sleep(300)
    await ensure(guard, "one")
