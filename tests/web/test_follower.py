"""How a resource is followed through what an API server does at worst: forgets, breaks off, answers nonsense."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from services.web import follower
from services.web.api import Access, Api, Refused
from services.web.followed import FOLLOWED, Followed
from services.web.follower import FORBIDDEN, GONE, Follower
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


class NarrowApi(Api):
    """One whose viewer may list pods in ``open`` alone: an object in each, whose name is the namespace's."""

    def __init__(self, *open: str) -> None:
        self.open = {*open}
        self.watched: dict[str, int] = {}
        self.both = asyncio.Event()

    async def list(self, path: str, accept: str, pack: Callable[[dict[str, Any]], T]) -> tuple[list[T], int]:
        namespace = path.removeprefix("/api/v1/namespaces/").removesuffix("/pods")
        if namespace not in self.open:
            raise Refused(FORBIDDEN, f"pods is forbidden: {path}")
        obj = thing(namespace, 5)
        obj["metadata"]["namespace"] = namespace
        return [pack(obj)], 7

    async def watch(self, path: str, revision: int, accept: str) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
        self.watched[path] = revision
        if len(self.watched) == 2:
            self.both.set()
        await asyncio.Event().wait()
        yield "BOOKMARK", thing("", revision)


Narrow = tuple[Follower, Recorder, asyncio.Queue[str]]
PODS = next(one for one in FOLLOWED if one.name == "pods")


@asynccontextmanager
async def narrow(api: NarrowApi, namespaces: list[str], followed: Followed = PODS) -> AsyncIterator[Narrow]:
    """What follows there, its recorder, and how it stands each time that changes."""
    recorder, stands = Recorder(), asyncio.Queue[str]()
    one = Follower(api, followed, recorder, lambda follower: stands.put_nowait(follower.standing or ""), namespaces)
    following = asyncio.create_task(one.run())
    try:
        async with asyncio.timeout(20):
            yield one, recorder, stands
    finally:
        following.cancel()
        await asyncio.wait([following])


def seen(recorder: Recorder) -> list[str]:
    return sorted(obj["metadata"]["name"] for obj in recorder.objects("pods"))


async def test_who_may_not_list_everywhere_sees_the_namespaces_in_which_he_may() -> None:
    api = NarrowApi("shop", "mine")
    async with narrow(api, ["shop", "theirs", "mine"]) as (one, recorder, stands):
        assert await stands.get() == "" and one.within == frozenset({"shop", "mine"})
        assert seen(recorder) == ["mine", "shop"]
        await api.both.wait()
        assert api.watched == {"/api/v1/namespaces/shop/pods": 7, "/api/v1/namespaces/mine/pods": 7}


async def test_where_there_is_none_he_is_told_so_and_a_namespace_that_he_names_is_looked_in_at_once() -> None:
    api, namespaces = NarrowApi("shop"), ["theirs"]
    async with narrow(api, namespaces) as (one, recorder, stands):
        assert "forbidden: /api/v1/pods" in await stands.get() and one.within is None and seen(recorder) == []
        namespaces.append("shop")
        one.named()
        assert await stands.get() == "" and seen(recorder) == ["shop"]
        api.open.add("later")
        namespaces.append("later")
        one.named()
        assert await stands.get() == "" and seen(recorder) == ["later", "shop"]


async def test_what_was_seen_where_he_may_look_no_more_is_forgotten_with_its_history() -> None:
    api = NarrowApi("shop", "mine")
    async with narrow(api, ["shop", "mine"]) as (one, recorder, stands):
        await stands.get()
        recorder.take("pods", "MODIFIED", {"metadata": {"namespace": "shop", "name": "shop", "resourceVersion": "9"}})
        assert len(recorder.changes) == 1
        api.open.remove("shop")
        one.named()
        assert await stands.get() == "" and one.within == frozenset({"mine"})
        assert seen(recorder) == ["mine"] and not recorder.changes


async def test_what_is_of_no_namespace_is_not_looked_for_in_one() -> None:
    async with narrow(NarrowApi("shop"), ["shop"], FOLLOWED[0]) as (one, _, stands):
        assert "forbidden" in await stands.get() and one.within is None
