"""Several members of a real etcd: one that is missing, dies, hangs or lags makes no call fail and none slow for long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from aetcd import rpc
from aetcd.rpc import rpc_pb2_grpc

from knarr.machinery.errors import StatusError
from services.apiserver.storage.etcd import EtcdSettings, EtcdStore
from services.apiserver.storage.store import HistoryLost, Put, Transaction
from tests.support.etcd import EtcdServer, running_members
from tests.support.ports import free_port

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(60)]
KEY = "/registry/configmaps/default/counted"


@pytest.fixture
def members(tmp_path: Path) -> Iterator[list[EtcdServer]]:
    with running_members(tmp_path) as servers:
        yield servers


@pytest.fixture
async def store(members: list[EtcdServer]) -> AsyncIterator[EtcdStore]:
    found = EtcdStore(EtcdSettings(tuple(member.endpoint for member in members)))
    try:
        yield found
    finally:
        await found.close()


async def count_up(store: EtcdStore, steps: int, step_seconds: float = 0.0) -> list[float]:
    """Raises a counter by guarded writes, each answered with success; how long each took, in seconds."""
    item = await store.get(KEY)
    revision, value, took = (item.revision, int(item.value), []) if item else (0, 0, [])
    for _ in range(steps):
        value += 1
        started = time.monotonic()
        outcome = await store.commit(Transaction({KEY: revision}, [Put(KEY, str(value).encode())]))
        took.append(time.monotonic() - started)
        assert outcome.succeeded
        revision = outcome.revision
        await asyncio.sleep(step_seconds)
    item = await store.get(KEY)
    assert item is not None and (item.value, item.revision) == (str(value).encode(), revision)
    return took


async def test_a_missing_member_costs_nothing(members: list[EtcdServer]) -> None:
    missing = f"127.0.0.1:{free_port()}"
    store = EtcdStore(EtcdSettings((missing, members[0].endpoint, missing)))
    try:
        assert max(await count_up(store, 50)) < 1
    finally:
        await store.close()


@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_writes_and_the_watch_outlive_every_member_in_turn(members: list[EtcdServer], store: EtcdStore, how: str) -> None:
    seen: list[int] = []

    async def follow() -> None:
        revision = 1
        while True:
            try:
                async for batch in store.watch("", revision):
                    seen.extend(int(change.value or b"0") for change in batch.changes)
                    revision = batch.revision + 1
            except Exception:
                await asyncio.sleep(0.05)

    watching = asyncio.create_task(follow())
    await count_up(store, 10)
    for member in members:
        counting = asyncio.create_task(count_up(store, 40, 0.01))
        await asyncio.sleep(0.1)
        getattr(member, how)()
        assert max(await counting) < 5
        await asyncio.to_thread(member.start if how == "kill" else member.resume)
        await asyncio.to_thread(member.wait_for_answer)
    async with asyncio.timeout(10):
        while not seen or seen[-1] != 130:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert seen == list(range(1, 131))
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


class LaggingMember(rpc_pb2_grpc.KVServicer, rpc_pb2_grpc.WatchServicer):
    """A member that knows revision 3, of an etcd that is at ``newest``."""

    def __init__(self, newest: int) -> None:
        self.newest = newest

    async def Range(self, request: Any, context: Any) -> Any:
        answer = rpc.RangeResponse()
        answer.header.revision = self.newest
        return answer

    async def Watch(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        created = rpc.WatchResponse(created=True)
        created.header.revision = 3
        yield created
        change = rpc.WatchResponse()
        change.header.revision = self.newest + 1
        change.events.add().kv.key = KEY.encode()
        change.events[0].kv.mod_revision = self.newest + 1
        yield change


@pytest.mark.parametrize(("newest", "lost"), [(10, False), (9, True)])
async def test_a_member_that_lags_is_told_from_a_store_that_went_backwards(newest: int, lost: bool) -> None:
    server, member = grpc.aio.server(), LaggingMember(newest)
    rpc_pb2_grpc.add_KVServicer_to_server(member, server)
    rpc_pb2_grpc.add_WatchServicer_to_server(member, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    store = EtcdStore(EtcdSettings((f"127.0.0.1:{port}",)))
    stream = store.watch("", 11)
    try:
        if lost:
            with pytest.raises(HistoryLost, match="etcd is at revision 9, but 10 was read from it before"):
                await anext(stream)
        else:
            assert [(await anext(stream)).revision, (await anext(stream)).revision] == [10, 11]
    finally:
        await stream.aclose()  # type: ignore[attr-defined]
        await store.close()
        await server.stop(0)


async def test_the_newest_revision_includes_every_answered_write(members: list[EtcdServer], store: EtcdStore) -> None:
    other = EtcdStore(EtcdSettings((members[2].endpoint,)))
    try:
        for number in range(50):
            outcome = await store.commit(Transaction({}, [Put(f"/registry/configmaps/default/{number}", b"x")]))
            assert await other.newest_revision() >= outcome.revision
    finally:
        await other.close()


async def test_a_watch_that_is_given_up_before_it_is_sent_ends() -> None:
    """A stream that is cancelled while it waits for its connection answers nothing more, not even to whoever writes to it."""
    store = EtcdStore(EtcdSettings(tuple(f"127.0.0.1:{free_port()}" for _ in range(2)), timeout_seconds=0.5, attempt_seconds=0.2))
    stream = store.watch("", 1)
    following = asyncio.ensure_future(anext(stream))
    member = store._members._members[0]
    try:
        async with asyncio.timeout(10):
            while not member.streams:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            store._members.failed(member)
            with pytest.raises(StatusError):
                await following
    finally:
        following.cancel()
        await store.close()


async def test_members_that_are_full_take_deletions(tmp_path: Path) -> None:
    """From a process that has written before, and from one that has not."""
    with running_members(tmp_path, quota_bytes=20 << 20) as members:
        endpoints = EtcdSettings(tuple(member.endpoint for member in members))
        stores = [EtcdStore(endpoints), EtcdStore(endpoints)]
        try:
            revisions: list[int] = []
            with pytest.raises(StatusError, match="is full"):
                for number in range(40):
                    outcome = await stores[0].commit(Transaction({f"{KEY}-{number}": 0}, [Put(f"{KEY}-{number}", bytes(1_000_000))]))
                    revisions.append(outcome.revision)
            for number, store in enumerate(stores):
                deletion = Transaction({f"{KEY}-{number}": revisions[number]}, deletes=[f"{KEY}-{number}"])
                assert (await store.commit(deletion)).succeeded
                assert await store.get(f"{KEY}-{number}") is None
        finally:
            for store in stores:
                await store.close()
