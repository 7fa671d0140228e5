"""Where a request's deadline ends its waiting, and what it is told then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import ServiceUnavailable, StatusError
from services.apiserver.admission.attributes import Attributes
from services.apiserver.backend import Waits
from services.apiserver.storage.memory import MemoryStore
from services.apiserver.storage.store import Batch, Change, KeyValue, Outcome, Transaction
from tests.apiserver.pipeline.world import config_map, fill, ref, running
from tests.support.virtual_time import virtual_time


class Hanging(MemoryStore):
    """A store that answers no more once it ``hangs``."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs = False

    async def _hang(self) -> None:
        if self.hangs:
            await asyncio.sleep(10_000)

    async def get(self, key: str) -> KeyValue | None:
        await self._hang()
        return await super().get(key)

    async def commit(self, transaction: Transaction) -> Outcome:
        await self._hang()
        return await super().commit(transaction)

    async def watch(self, prefix: str, revision: int, after: Change | None = None) -> AsyncIterator[Batch]:
        async for batch in super().watch(prefix, revision, after):
            await self._hang()
            yield batch


async def told(call: object) -> tuple[StatusError, float]:
    """The error of a call, and how long it took."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    with pytest.raises(StatusError) as caught:
        await call  # type: ignore[misc]
    return caught.value, loop.time() - start


@virtual_time
async def test_a_hanging_etcd_is_named_after_its_own_time_or_at_an_earlier_deadline() -> None:
    store = Hanging()
    async with running(store=store, waits=Waits(write_seconds=8)) as world:
        await fill(world, [config_map()])
        store.hangs = True
        for seconds, waited, words in (
            (60, 8, "etcd did not finish this write within 8 s"),
            (3, 3, "it was waiting for etcd; it is not known whether the write was stored"),
        ):
            patient = type(world.caller)(world.caller.api, seconds=seconds)
            for call in (
                patient.create(ref(core.ConfigMap), config_map("new"), meta.CreateOptions()),
                patient.patch(ref(core.ConfigMap, "c"), "merge", b'{"data":{"a":"b"}}', meta.PatchOptions()),
                patient.delete(ref(core.ConfigMap, "c"), meta.DeleteOptions()),
            ):
                error, took = await told(call)
                assert (error.code, error.reason, took) == (504, "Timeout", waited) and words in str(error)
        error, took = await told(patient.patch(ref(core.ConfigMap, "unknown"), "merge", b"{}", meta.PatchOptions()))
        assert (error.code, took) == (504, 3) and "it was waiting for etcd" in str(error)


@virtual_time
async def test_the_time_that_admission_takes_is_not_etcds() -> None:
    """Nine seconds in a plugin and nine in the store are no reason to give up where each may take ten."""
    store = Hanging()
    async with running(store=store, waits=Waits(write_seconds=10)) as world:

        async def wait(phase: str, attributes: Attributes) -> bool:
            await asyncio.sleep(9)
            return False

        async def slow(transaction: Transaction) -> Outcome:
            await asyncio.sleep(9)
            return await MemoryStore.commit(store, transaction)

        world.witness.act, store.commit = wait, slow  # type: ignore[method-assign]
        await world.caller.create(ref(core.ConfigMap), config_map(), meta.CreateOptions())
        assert asyncio.get_running_loop().time() == 27


@virtual_time
async def test_a_first_load_is_waited_for_no_longer_than_the_caller_waits() -> None:
    async with running(waits=Waits(sync_seconds=10)) as world:
        world.feed.synced.clear()
        impatient = type(world.caller)(world.caller.api, seconds=2)
        calls = lambda caller: (  # noqa: E731
            caller.get(ref(core.ConfigMap, "c")),
            caller.list(ref(core.ConfigMap), meta.ListOptions()),
            anext(caller.watch(ref(core.ConfigMap), meta.ListOptions())),
            caller.create(ref(core.ConfigMap), config_map(), meta.CreateOptions()),
        )
        for call in calls(impatient):
            error, took = await told(call)
            assert (error.code, took) == (504, 2) and "it was waiting for the first load from etcd" in str(error)
        for call in calls(world.caller):
            error, took = await told(call)
            assert isinstance(error, ServiceUnavailable) and took == 10


@virtual_time
async def test_a_revision_is_waited_for_no_longer_than_the_caller_waits() -> None:
    async with running(waits=Waits(revision_seconds=3)) as world:
        impatient = type(world.caller)(world.caller.api, seconds=1)
        for caller, waited in ((impatient, 1), (world.caller, 3)):
            error, took = await told(caller.get(ref(core.ConfigMap, "c"), "9999"))
            assert (error.code, error.reason, took) == (504, "Timeout", waited)


@virtual_time
async def test_a_slow_authorizer_is_named() -> None:
    async with running(seconds=5) as world:

        async def authorize(request: object) -> None:
            await asyncio.sleep(100)

        world.guard.asking = authorize
        error, took = await told(world.caller.get(ref(core.ConfigMap, "c")))
        assert (error.code, took) == (504, 5) and "it was waiting for the authorizer" in str(error)


@virtual_time
async def test_a_watch_goes_on_behind_its_deadline() -> None:
    async with running(seconds=1) as world:
        stream = world.caller.watch(ref(core.ConfigMap), meta.ListOptions(resource_version=str(world.caller.backend.cache.revision)))
        following = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(100)
        await world.caller.create(ref(core.ConfigMap), config_map(), meta.CreateOptions())
        assert [event.type for event in await following] == ["ADDED"]
        await stream.aclose()  # type: ignore[attr-defined]
