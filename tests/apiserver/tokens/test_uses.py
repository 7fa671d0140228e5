"""When tokens of Secrets were used last, and that one that is marked is taken no longer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.objects.account_tokens import ACCOUNT, INVALID_SINCE, LAST_USED, SINCE, TRACKING_NAME, TRACKING_NAMESPACE, TYPE
from knarr.service.tasks import cancel
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.tokens.uses import Uses
from tests.apiserver.tokens.asking import NAME, bound, token, who
from tests.support.faces import RestClient
from tests.support.set_clock import SetClock

DAY_SECONDS = 86_400


@pytest.fixture
async def kept(api: ApiInMemory, rest: RestClient) -> str:
    """A token in a Secret of the account."""
    made = core.Secret(metadata=meta.ObjectMeta(name="kept", namespace="shop"), type=TYPE)
    made.metadata.annotations[ACCOUNT] = "robot"
    await api.client().create(made)
    return await token(rest, {**bound("Secret", "kept"), "expirationSeconds": 10 * DAY_SECONDS})


def uses(api: ApiInMemory) -> Uses:
    assert api.server.uses is not None
    return api.server.uses


@asynccontextmanager
async def writing(api: ApiInMemory) -> AsyncIterator[None]:
    task = asyncio.create_task(uses(api).run(api.client()))
    try:
        yield
    finally:
        await cancel([task])


def labels(api: ApiInMemory, name: str = "kept") -> dict[str, str]:
    return next(dict(found.metadata.labels) for found in api.all(core.Secret) if found.metadata.name == name)


def version(api: ApiInMemory) -> str:
    return next(found.metadata.resource_version for found in api.all(core.Secret) if found.metadata.name == "kept")


async def until_used(api: ApiInMemory, day: str) -> None:
    async with asyncio.timeout(10):
        while labels(api).get(LAST_USED) != day:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_a_use_is_noted_once_a_day(api: ApiInMemory, rest: RestClient, clock: SetClock, kept: str) -> None:
    async with writing(api):
        assert labels(api) == {}
        for _ in range(3):
            assert (await who(rest, kept))["username"] == NAME
        await until_used(api, "2026-01-01")
        before = version(api)
        assert (await who(rest, kept))["username"] == NAME
        # What is noted is written by then: another one is.
        clock.move(DAY_SECONDS)
        assert version(api) == before
        assert (await who(rest, kept))["username"] == NAME
        await until_used(api, "2026-01-02")
        # A clock that is a day behind takes nothing back.
        clock.move(-DAY_SECONDS)
        before = version(api)
        assert (await who(rest, kept))["username"] == NAME
        await uses(api).say_since(api.client())
        assert version(api) == before


async def test_other_secrets_are_not_written_to(api: ApiInMemory, rest: RestClient, kept: str) -> None:
    other = await token(rest, bound("Secret", "key"))
    async with writing(api):
        assert (await who(rest, other))["username"] == NAME
        assert (await who(rest, kept))["username"] == NAME
        await until_used(api, "2026-01-01")
        assert labels(api, "key") == {}


async def test_one_that_is_marked_is_refused_until_the_mark_is_gone(api: ApiInMemory, rest: RestClient, kept: str) -> None:
    async with writing(api):
        marked = {"metadata": {"labels": {INVALID_SINCE: "2025-12-31"}}}
        await api.client().patch(core.Secret, "kept", "shop", patch=marked)
        assert await who(rest, kept) == 401
        # That somebody still has it is noted.
        await until_used(api, "2026-01-01")
        review = await rest.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": kept}})
        assert review.json["status"]["error"].startswith(
            "the token in secret shop/kept for service account shop/robot has been marked invalid."
        )
        await api.client().patch(core.Secret, "kept", "shop", patch={"metadata": {"labels": {INVALID_SINCE: None}}})
        assert (await who(rest, kept))["username"] == NAME


async def test_a_secret_that_is_gone_or_another_by_then_costs_nothing(api: ApiInMemory, rest: RestClient, kept: str) -> None:
    assert (await who(rest, kept))["username"] == NAME
    await api.client().delete(core.Secret, "kept", "shop")
    made = core.Secret(metadata=meta.ObjectMeta(name="kept", namespace="shop"), type=TYPE)
    made.metadata.annotations[ACCOUNT] = "robot"
    await api.client().create(made)
    async with writing(api):
        anew = await token(rest, bound("Secret", "kept"))
        assert labels(api) == {}
        assert (await who(rest, anew))["username"] == NAME
        await until_used(api, "2026-01-01")


@pytest.mark.parametrize(("said", "kept_since"), [(None, "2026-01-01"), ("2025-05-05", "2025-05-05"), ("some day", "2026-01-01")])
async def test_since_when_is_said_once(api: ApiInMemory, said: str | None, kept_since: str) -> None:
    if said is not None:
        there = core.ConfigMap(metadata=meta.ObjectMeta(name=TRACKING_NAME, namespace=TRACKING_NAMESPACE), data={SINCE: said})
        await api.client().create(there)
    for _ in range(2):
        await uses(api).say_since(api.client())
    found = await api.client().get(core.ConfigMap, TRACKING_NAME, TRACKING_NAMESPACE)
    assert dict(found.data) == {SINCE: kept_since}
