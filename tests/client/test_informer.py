from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.index import Index
from knarr.client.informer import Informer, Informers
from knarr.machinery.errors import AlreadyExists, NotFound, ServiceUnavailable, status_error
from knarr.objects.keys import Key, key_of
from tests.client.objects import config_map, pod
from tests.support.api import FaultyApi, FaultyClient
from tests.support.virtual_time import run, virtual_time


@asynccontextmanager
async def running(informer: Informer[Any] | Informers) -> AsyncIterator[None]:
    task = asyncio.ensure_future(informer.run())
    try:
        yield
    finally:
        assert not task.done(), task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Mirror:
    """A listener that rebuilds the collection from what it is told, and checks that it makes sense."""

    def __init__(self) -> None:
        self.objects: dict[Key, core.ConfigMap] = {}
        self.log: list[str] = []

    def __call__(self, old: core.ConfigMap | None, new: core.ConfigMap | None) -> None:
        if new is None:
            assert old is not None
            del self.objects[key_of(old)]
            self.log.append(f"-{old.metadata.name}")
            return
        known = self.objects.get(key_of(new))
        assert (known is None) is (old is None)
        assert known is None or known.metadata.uid == new.metadata.uid
        self.objects[key_of(new)] = new
        self.log.append(f"{'+' if old is None else '~'}{new.metadata.name}")


@virtual_time
async def test_lists_then_follows() -> None:
    client = FaultyApi().client()
    await client.create(config_map("a"))
    informer, mirror = Informer(client, core.ConfigMap), Mirror()
    informer.on_change(mirror)
    assert not informer.synced
    async with running(informer):
        await informer.wait_synced()
        obj = await client.create(config_map("b"))
        obj.data["k"] = "v"
        await client.update(obj)
        await client.delete(core.ConfigMap, "a", "default")
        await asyncio.sleep(1)
        assert mirror.log == ["+a", "+b", "~b", "-a"]
        assert informer.store.get("default", "b") == obj or informer.store.get("default", "b").data["k"] == "v"  # type: ignore[union-attr]
        assert len(informer.store) == 1


@virtual_time
async def test_a_late_listener_hears_of_what_is_there() -> None:
    client = FaultyApi().client()
    await client.create(config_map("a"))
    informer, mirror = Informer(client, core.ConfigMap), Mirror()
    async with running(informer):
        await informer.wait_synced()
        informer.on_change(mirror)
        assert mirror.log == ["+a"]


@virtual_time
async def test_an_expired_watch_tells_the_deletes_it_missed() -> None:
    api = FaultyApi()
    client, mirror = api.client(), Mirror()
    for name in "abc":
        await client.create(config_map(name))
    informer = Informer(client, core.ConfigMap)
    informer.on_change(mirror)
    async with running(informer):
        await informer.wait_synced()
        await asyncio.sleep(1)
        api.break_watches()
        await client.delete(core.ConfigMap, "a", "default")
        await client.delete(core.ConfigMap, "b", "default")
        await client.create(config_map("b"))
        api.compact()
        await asyncio.sleep(10)
        assert mirror.log == ["+a", "+b", "+c", "-a", "-b", "+b"]


@virtual_time
async def test_an_unreachable_server_is_asked_again_with_backoff() -> None:
    api = FaultyApi()
    client = api.client()
    api.fail_next(status_error("ServiceUnavailable", "down"), verb="list", times=30)
    informer = Informer(client, core.ConfigMap)
    async with running(informer):
        async with asyncio.timeout(300):
            await informer.wait_synced()
        assert asyncio.get_running_loop().time() > 30


@virtual_time
async def test_a_server_that_is_away_is_said_to_be_and_for_how_long() -> None:
    api = FaultyApi()
    client = api.client()
    informer = Informer(client, core.ConfigMap)
    async with running(informer):
        await informer.wait_synced()
        assert informer.away_since is None
        api.fail_next(status_error("ServiceUnavailable", "down"), verb="watch", times=8)
        api.break_watches()
        await asyncio.sleep(0.2)
        since = informer.away_since
        assert since is not None
        await asyncio.sleep(1)
        assert informer.away_since == since
        await asyncio.sleep(60)
        assert informer.away_since is None
        api.break_watches()
        await asyncio.sleep(0)
        await client.create(config_map("a"))
        await asyncio.sleep(1)
        assert informer.away_since is None


@virtual_time
async def test_a_transient_error_resumes_and_another_one_lists_again() -> None:
    class Counting(FaultyClient):
        lists = 0

        async def list(self, *args: Any, **kwargs: Any) -> Any:
            Counting.lists += 1
            return await super().list(*args, **kwargs)

    client = Counting(FaultyApi())
    informer = Informer(client, core.ConfigMap)
    async with running(informer):
        await informer.wait_synced()
        await asyncio.sleep(1)
        client.api.break_watches()
        await asyncio.sleep(10)
        assert Counting.lists == 1
        client.api.break_watches(status_error("InternalError", "confused"))
        await asyncio.sleep(10)
        assert Counting.lists == 2


@virtual_time
async def test_a_server_that_lost_the_revision_is_listed_anew() -> None:
    api = FaultyApi()
    client = api.client()
    for name in "abc":
        await client.create(config_map(name))
    informer = Informer(client, core.ConfigMap)
    async with running(informer):
        await informer.wait_synced()
        await asyncio.sleep(1)
        client.move_to(FaultyApi())
        await client.create(config_map("z"))
        api.break_watches()
        await asyncio.sleep(60)
        assert [obj.metadata.name for obj in informer.store.list()] == ["z"]


@virtual_time
async def test_a_server_whose_data_is_from_a_backup_is_listed_anew_at_once() -> None:
    api = FaultyApi()
    client = api.client()
    await client.create(config_map("a"))
    informer = Informer(client, core.ConfigMap)
    async with running(informer):
        await informer.wait_synced()
        await asyncio.sleep(1)
        future = status_error("Timeout", "Too large resource version: 9, current: 3")
        future.status.details.causes.add(reason="ResourceVersionTooLarge")
        for reply, lists in ((status_error("Timeout", "slow"), 0), (future, 1)):
            listed: list[str] = []
            client.list = recorded(client, listed)  # type: ignore[method-assign]
            api.fail_next(reply, verb="watch")
            api.break_watches()
            await asyncio.sleep(5)
            assert len(listed) == lists


def recorded(client: FaultyClient, listed: list[str]) -> Any:
    async def listing(*arguments: Any, **options: Any) -> Any:
        listed.append("")
        return await FaultyClient.list(client, *arguments, **options)

    return listing


@virtual_time
async def test_pages_are_followed_and_an_expired_page_starts_over() -> None:
    api = FaultyApi()
    client = api.client()
    for number in range(1200):
        await client.create(config_map(f"a{number}"))

    class Forgetful(FaultyClient):
        async def list(self, *args: Any, **kwargs: Any) -> Any:
            if kwargs["continue_token"] and kwargs["limit"]:
                api.compact()
            return await super().list(*args, **kwargs)

    for informer in (Informer(client, core.ConfigMap), Informer(Forgetful(api), core.ConfigMap)):
        async with running(informer):
            await informer.wait_synced()
            assert len(informer.store) == 1200


@virtual_time
async def test_a_listener_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    client = FaultyApi().client()
    informer, mirror = Informer(client, core.ConfigMap), Mirror()

    def broken(old: Any, new: Any) -> None:
        raise RuntimeError("listener bug")

    informer.on_change(broken)
    informer.on_change(mirror)
    async with running(informer):
        await informer.wait_synced()
        await client.create(config_map("a"))
        await asyncio.sleep(1)
        assert mirror.log == ["+a"]
    assert "listener failed" in caplog.text


BY_NODE: Index[core.Pod] = Index("node", lambda obj: [obj.spec.node_name] if obj.spec.node_name else [])


@virtual_time
async def test_indexes_follow_changes() -> None:
    client = FaultyApi().client()
    informer = Informer(client, core.Pod)
    informer.add_index(BY_NODE)
    async with running(informer):
        await informer.wait_synced()
        await client.create(pod("a"))
        await asyncio.sleep(1)
        assert informer.store.index(BY_NODE, "n1") == []
        client.api.seed(pod("b", node="n1"), pod("c", namespace="other", node="n1"))
        await asyncio.sleep(1)
        assert sorted(str(key_of(obj)) for obj in informer.store.index(BY_NODE, "n1")) == ["default/b", "other/c"]
        assert [obj.metadata.name for obj in informer.store.list("other")] == ["c"]
        await client.delete(core.Pod, "b", "default", grace_period_seconds=0)
        await asyncio.sleep(1)
        assert [obj.metadata.name for obj in informer.store.index(BY_NODE, "n1")] == ["c"]


@virtual_time
async def test_resync_tells_everything_again() -> None:
    client = FaultyApi().client()
    await client.create(config_map("a"))
    informer, mirror = Informer(client, core.ConfigMap, resync_seconds=60), Mirror()
    informer.on_change(mirror)
    async with running(informer):
        await asyncio.sleep(150)
    assert mirror.log == ["+a", "~a", "~a"]


@virtual_time
async def test_the_factory_shares_informers_and_starts_late_ones() -> None:
    client = FaultyApi().client()
    await client.create(config_map("a"))
    informers = Informers(client)
    maps = informers.get(core.ConfigMap)
    assert informers.get(core.ConfigMap) is maps
    assert informers.get(core.ConfigMap, label_selector="a=b") is not maps
    async with running(informers):
        await informers.wait_synced()
        late = informers.get(core.Pod)
        async with asyncio.timeout(10):
            await late.wait_synced()
        assert len(maps.store) == 1


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["create", "update", "delete"]), st.sampled_from("abcd")),
        st.tuples(st.sampled_from(["break", "compact", "fail_list", "fail_watch", "wait"]), st.just("")),
    ),
    max_size=40,
)


@given(STEPS)
@settings(max_examples=80, deadline=None)
def test_the_store_ends_up_equal_to_the_truth(steps: list[tuple[str, str]]) -> None:
    async def scenario() -> None:
        api = FaultyApi()
        client, mirror = api.client(), Mirror()
        informer = Informer(client, core.ConfigMap)
        informer.on_change(mirror)
        async with running(informer):
            for action, name in steps:
                await act(api, client, action, name)
            await asyncio.sleep(120)
            truth = {key_of(obj): obj for obj in api.all(core.ConfigMap)}
            assert {key: informer.store.get(*key) for key in informer.store} == truth
            assert mirror.objects == truth

    run(scenario())


async def act(api: FaultyApi, client: FaultyClient, action: str, name: str) -> None:
    try:
        if action == "create":
            await client.create(config_map(name))
        elif action == "update":
            obj = await client.get(core.ConfigMap, name, "default")
            obj.data["n"] = str(int(obj.data["n"] or 0) + 1) if "n" in obj.data else "0"
            await client.update(obj)
        elif action == "delete":
            await client.delete(core.ConfigMap, name, "default")
        elif action == "break":
            api.break_watches()
        elif action == "compact":
            api.compact()
        elif action == "wait":
            await asyncio.sleep(7)
        else:
            api.fail_next(status_error("ServiceUnavailable", "down"), verb=action.removeprefix("fail_"))
    except (NotFound, AlreadyExists, ServiceUnavailable):
        pass
