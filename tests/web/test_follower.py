"""How a resource is followed through what an API server does at worst: forgets, breaks off, answers nonsense."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any, TypeVar

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from services.web import follower
from services.web.api import Access, Api, Refused
from services.web.followed import FOLLOWED
from services.web.follower import GONE, Follower
from services.web.recorder import Recorder
from tests.support.set_clock import SetClock
from tests.web.histories import thing

T = TypeVar("T")


class WorstApi(Api):
    """Its lists are empty; its watches do what ``script`` says, one after the other: tell an object, or raise an error. When it is at
    its end, a watch lasts."""

    def __init__(self, *script: int | Exception) -> None:
        self.script = list(script)
        self.lists = 0
        self.ended = asyncio.Event()

    async def list(self, path: str, accept: str, pack: Callable[[dict[str, Any]], T]) -> tuple[list[T], int]:
        self.lists += 1
        return [], 1

    async def watch(self, path: str, revision: int, accept: str) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
        while self.script:
            step = self.script.pop(0)
            if isinstance(step, Exception):
                raise step
            yield "MODIFIED", thing("a", step)
        self.ended.set()
        await asyncio.Event().wait()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many failures in a row were waited for, each time; nobody really waits."""
    waited: list[int] = []

    class Noted:
        def delay(self, failures: int) -> float:
            waited.append(failures)
            return 0.0

    monkeypatch.setattr(follower, "BACKOFF", Noted())
    return waited


async def follow(api: WorstApi) -> Follower:
    one = Follower(api, FOLLOWED[0], Recorder(SetClock()), lambda _: None)
    task = asyncio.create_task(one.run())
    async with asyncio.timeout(10):
        await api.ended.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return one


async def test_what_failed_long_ago_is_no_reason_to_wait_longer(pauses: list[int]) -> None:
    away = ConnectionResetError("away")
    await follow(WorstApi(away, away, 5, away, 6, away))
    assert pauses == [1, 2, 1, 1]


async def test_a_server_that_forgets_at_once_is_not_asked_in_a_circle(pauses: list[int]) -> None:
    gone = Refused(GONE, "too old")
    api = WorstApi(gone, gone, gone)
    one = await follow(api)
    assert pauses == [1, 2, 3] and api.lists == 4 and one.standing == ""


async def test_what_is_no_api_server_is_told_so() -> None:
    async def welcome(request: web.Request) -> web.Response:
        return web.Response(text="<html>Please log in", content_type="text/html")

    elsewhere = web.Application()
    elsewhere.router.add_get("/{path:.*}", welcome)
    told = asyncio.Event()
    async with TestServer(elsewhere) as server, Api(Access(str(server.make_url("/")))) as api:
        one = Follower(api, FOLLOWED[0], Recorder(SetClock()), lambda _: told.set())
        task = asyncio.create_task(one.run())
        async with asyncio.timeout(10):
            await told.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert one.standing is not None and "no API server" in one.standing and "Please log in" in one.standing


async def test_what_was_listed_is_not_kept_beside_what_became_of_it() -> None:
    gone = asyncio.Event()

    class Listed:
        def __del__(self) -> None:
            gone.set()

    class OneApi(WorstApi):
        async def list(self, path: str, accept: str, pack: Callable[[dict[str, Any]], T]) -> tuple[list[T], int]:
            return [pack(thing("a", 1))], 1

    class Forgetful(Recorder):
        def begin_packed(self, resource: str, objects: list[Any], revision: int, **more: Any) -> None:
            objects[:] = [Listed()]

    api = OneApi()
    following = asyncio.create_task(Follower(api, FOLLOWED[0], Forgetful(), lambda _: None).run())
    async with asyncio.timeout(10):
        await api.ended.wait()
    assert gone.is_set()
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following
