"""A manager that dies between any two calls to AWS, or hears no answer to one: the next one brings everything to the same end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.cloud.errors import Unavailable
from services.cloud.providers.aws.api import AwsApi
from tests.cloud.aws.account import Account
from tests.cloud.aws.provider import Driver, driving, service

LIMIT = 100
Do = Callable[[Driver], Awaitable[None]]


class Died(BaseException):
    """Nothing handles it, as nothing handles a killed process."""


def first() -> core.Service:
    return service(ports=(("UDP", 53, 30053),))


def changed() -> core.Service:
    """Other ports, another NodePort, another check, other clients."""
    made = service(ports=(("TCP", 81, 30081), ("UDP", 53, 30054), ("TCP", 53, 30054)))
    made.spec.external_traffic_policy, made.spec.health_check_node_port = "Local", 31000
    made.spec.load_balancer_source_ranges.append("198.51.100.0/24")
    return made


def turned() -> core.Service:
    """Another scheme, which takes another load balancer."""
    return service(annotations={"service.beta.kubernetes.io/aws-load-balancer-scheme": "internal"})


async def do_first(driver: Driver) -> None:
    await driver.ensure(first())


async def do_change(driver: Driver) -> None:
    await driver.ensure(changed())


async def do_turn(driver: Driver) -> None:
    await driver.ensure(turned())


async def do_delete(driver: Driver) -> None:
    await driver.delete(first())


@contextmanager
def one_change_at_a_time(failure: BaseException) -> Iterator[list[str]]:
    """Every second call that changes something fails instead; the answer to the one before was the last that was heard."""
    call = AwsApi.call
    made: list[str] = []

    async def counted(self: AwsApi, action: str, /, **parameters: Any) -> dict[str, Any]:
        if ":Describe" not in action:
            made.append(action)
            if len(made) % 2 == 0:
                raise failure
        return await call(self, action, **parameters)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AwsApi, "call", counted)
        yield made


@contextmanager
def answers_lost() -> Iterator[list[str]]:
    """Everything that changes something is done, and nothing is heard of it."""
    call = AwsApi.call
    made: list[str] = []

    async def deaf(self: AwsApi, action: str, /, **parameters: Any) -> dict[str, Any]:
        answer = await call(self, action, **parameters)
        if ":Describe" not in action:
            made.append(action)
            raise Unavailable(f"{action}: the answer was lost")
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AwsApi, "call", deaf)
        yield made


TRANSITIONS = [(None, do_first), (do_first, do_change), (do_first, do_turn), (do_first, do_delete)]


@pytest.mark.parametrize(("before", "then"), TRANSITIONS)
async def test_it_dies_after_every_single_change(account: Account, api: AwsApi, before: Do | None, then: Do) -> None:
    wanted, changes = await uninterrupted(account, api, before, then)
    await prepare(account, api, before)
    lives = 0
    with one_change_at_a_time(Died()) as made:
        while True:
            lives += 1
            assert lives < LIMIT, made
            async with driving(account, api=api) as driver:
                try:
                    await then(driver)
                    break
                except Died:
                    continue
    assert account.everything() == wanted
    # Nothing is made twice.
    assert made[::2] == changes


@pytest.mark.parametrize(("before", "then"), [TRANSITIONS[1], TRANSITIONS[3]])
async def test_no_answer_to_a_change_is_ever_heard(account: Account, api: AwsApi, before: Do | None, then: Do) -> None:
    wanted, changes = await uninterrupted(account, api, before, then)
    await prepare(account, api, before)
    async with driving(account, api=api) as driver:
        with answers_lost() as made:
            while True:
                assert len(made) < LIMIT, made
                try:
                    await then(driver)
                    break
                except Unavailable:
                    continue
    assert account.everything() == wanted
    assert made == changes


async def test_what_was_begun_for_another_wish_does_not_stay(account: Account, api: AwsApi) -> None:
    """It dies again and again, each time on the way to another wish; then everything is given back."""
    empty = account.everything()
    with one_change_at_a_time(Died()) as made:
        for wish in [*[first] * 7, changed, first, changed, changed, turned, changed, first, changed]:
            async with driving(account, api=api) as driver:
                try:
                    await driver.ensure(wish())
                except Died:
                    continue
    assert {"elasticloadbalancing:CreateListener", "elasticloadbalancing:DeleteListener"} & set(made)
    async with driving(account, api=api) as driver:
        await driver.ensure(changed())
        assert [group["TargetGroupName"].rsplit("-", 3)[1:] for group in account.groups()] == [
            ["53", "30054", "both"],
            ["81", "30081", "tcp"],
        ]
        await driver.delete(changed())
    assert account.everything() == empty


async def prepare(account: Account, api: AwsApi, before: Do | None) -> None:
    account.furnish()
    if before is not None:
        async with driving(account, api=api) as driver:
            await before(driver)


async def uninterrupted(account: Account, api: AwsApi, before: Do | None, then: Do) -> tuple[str, list[str]]:
    """What there is after all went well, and the changes that led there, in order."""
    await prepare(account, api, before)
    call = AwsApi.call
    made: list[str] = []

    async def noted(self: AwsApi, action: str, /, **parameters: Any) -> dict[str, Any]:
        if ":Describe" not in action:
            made.append(action)
        return await call(self, action, **parameters)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AwsApi, "call", noted)
        async with driving(account, api=api) as driver:
            await then(driver)
    return account.everything(), made
