"""A quota under two API servers on one real etcd, of which one hears late of what the other does: never over-committed, never leaking."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import Forbidden, ServerTimeout, StatusError
from services.apiserver.api import Ref
from services.apiserver.bootstrap import USER
from services.apiserver.component import ApiServer
from services.controller.component import ControllerManager
from services.controller.controllers.resourcequota.controller import ResourceQuotaController
from tests.apiserver.core.test_two_servers import call, config_map, endpoint, named, server  # noqa: F401

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(60)]
QUOTA, CONFIG_MAPS = Ref(version_of(core.ResourceQuota), "default", "q"), Ref(version_of(core.ConfigMap), "default")
ROOM, ASKING, LAG_SECONDS = 20, 50, 0.02


async def limit(one: ApiServer, other: ApiServer, used: int) -> None:
    """As the controller has it when so many are there; both servers have heard of it."""
    made = core.ResourceQuota(metadata=meta.ObjectMeta(name="q", namespace="default"))
    made.spec.hard["configmaps"].string = str(ROOM)
    await call(one).create(Ref(QUOTA.version, "default"), made, meta.CreateOptions())
    found: Any = (await call(one).get(QUOTA)).message
    found.status.hard["configmaps"].string, found.status.used["configmaps"].string = str(ROOM), str(used)
    await call(one).update(Ref(QUOTA.version, "default", "q", "status"), found, meta.UpdateOptions())
    await other.backend.latest()


async def state(one: ApiServer) -> tuple[int, int]:
    """Config maps there are, and those that the quota knows of; of one instant or later ones in this order."""
    await one.backend.latest()
    found: Any = (await call(one).get(QUOTA)).message
    page = await call(one).list(CONFIG_MAPS, meta.ListOptions())
    return len(page.entries), int(found.status.used["configmaps"].string)


async def test_fifty_at_once_get_what_there_is(endpoint: str) -> None:  # noqa: F811
    async with server(endpoint) as one, server(endpoint, lag_seconds=LAG_SECONDS) as other:
        there = len((await call(one).list(CONFIG_MAPS, meta.ListOptions())).entries)
        await limit(one, other, there)

        async def attempt(number: int) -> StatusError | None:
            try:
                await call((one, other)[number % 2]).create(CONFIG_MAPS, config_map(f"c{number}"), meta.CreateOptions())
            except StatusError as error:
                return error
            return None

        answers = await asyncio.gather(*map(attempt, range(ASKING)))
        assert all(isinstance(error, Forbidden | ServerTimeout) for error in answers if error is not None)
        assert await state(one) == (there + answers.count(None), there + answers.count(None))
        # Those that lost to others too often are asked again, as clients do.
        for number, error in enumerate(answers):
            if isinstance(error, ServerTimeout):
                await attempt(number)
        assert await state(one) == (ROOM, ROOM)


async def test_what_comes_and_goes_is_counted_right_all_the_time(endpoint: str) -> None:  # noqa: F811
    async with server(endpoint) as one, server(endpoint, lag_seconds=LAG_SECONDS) as other:
        manager = ControllerManager(one.client(USER), controllers=[ResourceQuotaController])
        task = asyncio.create_task(manager.run())
        there = len((await call(one).list(CONFIG_MAPS, meta.ListOptions())).entries)
        await limit(one, other, there)

        async def churn(number: int) -> int:
            done = 0
            for turn in range(3):
                name = f"c{number}-{turn}"
                with contextlib.suppress(Forbidden, ServerTimeout):
                    await call((one, other)[number % 2]).create(CONFIG_MAPS, config_map(name), meta.CreateOptions())
                    done += 1
                    stored, _ = await state(one)
                    assert stored <= ROOM
                    await call((other, one)[turn % 2]).delete(named(name), meta.DeleteOptions())
            return done

        assert sum(await asyncio.gather(*map(churn, range(ROOM + 4)))) > ROOM
        async with asyncio.timeout(30):
            while await state(one) != (there, there):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
