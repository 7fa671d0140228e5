"""Writes whose answer is lost: none is carried out twice, none is answered otherwise than it ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import envelope
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import Conflict, NotFound, ServiceUnavailable, StatusError, Timeout
from services.apiserver.api import Ref
from services.apiserver.storage.etcd import EtcdSettings, EtcdStore
from services.apiserver.storage.store import Put, Store, Transaction
from tests.apiserver.core.conftest import create_namespace, running_on
from tests.support.caller import Caller
from tests.support.etcd import EtcdServer
from tests.support.ports import free_port
from tests.support.proxy import TcpProxy, proxy_to

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(60)]
REF = Ref(version_of(core.ConfigMap), "default")
NAMED = Ref(REF.version, "default", "a")
KEY = "/registry/configmaps/default/a"


def config_map(value: str = "0", revision: str = "") -> core.ConfigMap:
    obj = core.ConfigMap(data={"v": value, "list": "[]"})
    obj.metadata.name, obj.metadata.resource_version = "a", revision
    return obj


@pytest.fixture
async def proxy(own_etcd: EtcdServer) -> AsyncIterator[TcpProxy]:
    async with proxy_to(own_etcd.endpoint) as found:
        yield found


@pytest.fixture
async def api(proxy: TcpProxy) -> AsyncIterator[Caller]:
    """An API whose etcd is behind the proxy."""
    async with running_on(EtcdStore(EtcdSettings((proxy.endpoint,), timeout_seconds=3))) as backend:
        found = Caller.of(backend)
        await create_namespace(found, "default")
        yield found


@pytest.fixture
async def direct(own_etcd: EtcdServer) -> AsyncIterator[Store]:
    """The same etcd without the proxy."""
    store = EtcdStore(EtcdSettings((own_etcd.endpoint,)))
    yield store
    await store.close()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def lose_answer(proxy: TcpProxy, direct: Store, write: Awaitable[Any], meanwhile: Callable[[], Awaitable[Any]] | None = None) -> Any:
    """Lets etcd carry out a write and breaks the connection before its answer is there; answers what the writer hears."""
    before = await direct.newest_revision()
    proxy.mute()
    writing = asyncio.ensure_future(write)

    async def stored() -> bool:
        return await direct.newest_revision() > before

    await until(stored)
    if meanwhile is not None:
        await meanwhile()
    proxy.mend()
    outcome: Any = (await asyncio.gather(writing, return_exceptions=True))[0]
    return outcome


def assert_unknown(outcome: Any) -> None:
    assert isinstance(outcome, Timeout) and outcome.code == 504, outcome
    assert "not known whether the write was stored" in str(outcome) and "read" in str(outcome)
    assert not outcome.status.details.retry_after_seconds


async def value_of(direct: Store) -> tuple[int, core.ConfigMap] | None:
    item = await direct.get(KEY)
    if item is None:
        return None
    return item.revision, core.ConfigMap.FromString(envelope.unwrap(item.value).raw)


async def test_of_eight_who_replace_one_revision_one_is_answered_at_most(own_etcd: EtcdServer) -> None:
    """Etcd hangs while they ask, dies, and is back: what was stored by one is not the others' success."""
    async with running_on(EtcdStore(EtcdSettings((own_etcd.endpoint,), timeout_seconds=10))) as backend:
        api = Caller.of(backend)
        await create_namespace(api, "default")
        revision = str((await api.create(REF, config_map(), meta.CreateOptions())).entry.revision)  # type: ignore[union-attr]
        own_etcd.pause()
        same = [api.update(NAMED, config_map("1", revision), meta.UpdateOptions()) for _ in range(8)]
        writing = asyncio.gather(*same, return_exceptions=True)
        await asyncio.sleep(0.2)
        own_etcd.kill()
        await asyncio.to_thread(own_etcd.start)
        outcomes = await writing
        answered = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
        refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert len(answered) <= 1 and all(isinstance(error, (Conflict, Timeout)) for error in refused), outcomes


async def test_an_update_whose_answer_is_lost_is_not_told_as_a_conflict(api: Caller, proxy: TcpProxy, direct: Store) -> None:
    revision = str((await api.create(REF, config_map(), meta.CreateOptions())).entry.revision)  # type: ignore[union-attr]
    other = b'{"data":{"other":"1"}}'

    async def overwrite() -> None:
        async with running_on(EtcdStore(EtcdSettings((proxy._target,)))) as backend:
            await Caller.of(backend).patch(NAMED, "merge", other, meta.PatchOptions())

    assert_unknown(await lose_answer(proxy, direct, api.update(NAMED, config_map("1", revision), meta.UpdateOptions()), overwrite))
    found = await value_of(direct)
    assert found is not None and found[1].data == {"v": "1", "list": "[]", "other": "1"}


async def test_a_json_patch_whose_answer_is_lost_is_applied_once(api: Caller, proxy: TcpProxy, direct: Store) -> None:
    obj = config_map()
    obj.metadata.finalizers.append("x.io/a")
    await api.create(REF, obj, meta.CreateOptions())
    patch = b'[{"op":"add","path":"/metadata/finalizers/-","value":"x.io/b"},{"op":"move","from":"/data/v","path":"/data/w"}]'

    async def overwrite() -> None:
        async with running_on(EtcdStore(EtcdSettings((proxy._target,)))) as backend:
            await Caller.of(backend).patch(NAMED, "merge", b'{"data":{"v":"again"}}', meta.PatchOptions())

    assert_unknown(await lose_answer(proxy, direct, api.patch(NAMED, "json", patch, meta.PatchOptions()), overwrite))
    found = await value_of(direct)
    assert found is not None and found[1].data == {"v": "again", "w": "0", "list": "[]"}
    assert [*found[1].metadata.finalizers] == ["x.io/a", "x.io/b"]


async def test_an_object_that_was_deleted_does_not_come_back(api: Caller, proxy: TcpProxy, direct: Store) -> None:
    """Its creation lost the answer, another deleted it before the creation would have been sent again."""

    async def delete() -> None:
        await direct.commit(Transaction({}, deletes=[KEY]))

    assert_unknown(await lose_answer(proxy, direct, api.create(REF, config_map(), meta.CreateOptions()), delete))
    assert await direct.get(KEY) is None


async def test_a_new_object_of_the_name_is_not_deleted_for_the_one_before(api: Caller, proxy: TcpProxy, direct: Store) -> None:
    await api.create(REF, config_map(), meta.CreateOptions())
    item = await direct.get(KEY)
    assert item is not None

    async def make_anew() -> None:
        await direct.commit(Transaction({KEY: 0}, [Put(KEY, item.value)]))

    assert_unknown(await lose_answer(proxy, direct, api.delete(NAMED, meta.DeleteOptions()), make_anew))
    assert await direct.get(KEY) is not None


async def test_a_write_that_never_left_is_said_to_be_none(api: Caller, proxy: TcpProxy, direct: Store) -> None:
    before = await direct.newest_revision()
    proxy.cut()
    store = api.backend.store
    with contextlib.suppress(StatusError):  # the connection may have been believed to stand
        await api.create(REF, config_map(), meta.CreateOptions())
    with pytest.raises(ServiceUnavailable, match="nothing was written"):
        await store.commit(Transaction({KEY: 0}, [Put(KEY, b"x")]))
    proxy.mend()
    assert await direct.newest_revision() == before
    with pytest.raises(NotFound):
        await api.get(NAMED)


async def test_a_write_is_sent_when_the_connection_is_back_in_time(api: Caller, proxy: TcpProxy) -> None:
    proxy.cut()
    await asyncio.sleep(0.1)
    writing = asyncio.ensure_future(api.create(REF, config_map(), meta.CreateOptions()))
    await asyncio.sleep(0.1)
    proxy.mend()
    assert (await writing).created


async def test_an_etcd_that_is_not_there_says_that_nothing_was_written() -> None:
    endpoint = f"127.0.0.1:{free_port()}"
    store = EtcdStore(EtcdSettings((endpoint,), timeout_seconds=0.2))
    try:
        with pytest.raises(ServiceUnavailable, match=f"etcd at {endpoint} cannot be reached.*nothing was written"):
            await store.commit(Transaction({KEY: 0}, [Put(KEY, b"x")]))
    finally:
        await store.close()


@pytest.fixture
async def ways(own_etcd: EtcdServer) -> AsyncIterator[tuple[TcpProxy, TcpProxy]]:
    """Two ways to one etcd, as to two of its members."""
    async with proxy_to(own_etcd.endpoint) as first, proxy_to(own_etcd.endpoint) as second:
        yield first, second


@pytest.fixture
async def several(ways: tuple[TcpProxy, TcpProxy]) -> AsyncIterator[EtcdStore]:
    settings = EtcdSettings(tuple(proxy.endpoint for proxy in ways), timeout_seconds=8, attempt_seconds=0.5)
    store = EtcdStore(settings)
    await store.commit(Transaction({}, [Put("/before", b"")]))
    yield store
    await store.close()


CHANGES = {
    "create": (Transaction({KEY: 0}, [Put(KEY, b"mine")]), Transaction({}, deletes=[KEY])),
    "update": (Transaction({KEY: 1}, [Put(KEY, b"mine")]), Transaction({}, [Put(KEY, b"theirs")])),
    "delete": (Transaction({KEY: 1}, deletes=[KEY]), Transaction({}, [Put(KEY, b"theirs")])),
    "without a guard": (Transaction({}, [Put(KEY, b"mine")]), Transaction({}, [Put(KEY, b"theirs")])),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_another_member_knows_what_became_of_a_write(
    several: EtcdStore, ways: tuple[TcpProxy, TcpProxy], direct: Store, change: str
) -> None:
    """Also when it was overwritten before it is asked; it is carried out once, and answered with its own revision."""
    mine, theirs = CHANGES[change]
    if 1 in mine.guards.values():
        mine = Transaction({KEY: (await direct.commit(Transaction({}, [Put(KEY, b"old")]))).revision}, mine.puts, mine.deletes)
    before = await direct.newest_revision()
    outcome = await lose_answer(ways[0], direct, several.commit(mine), lambda: direct.commit(theirs))
    assert (outcome.succeeded, outcome.revision) == (True, before + 1)
    item = await direct.get(KEY)
    assert (item.value if item else None) == (theirs.puts[0].value if theirs.puts else None)


async def test_a_write_that_was_refused_is_not_carried_out_later(
    several: EtcdStore, ways: tuple[TcpProxy, TcpProxy], direct: Store
) -> None:
    """Its first attempt is still on the way when the second one is refused; what refused it goes; the first one arrives."""
    ways[0].hold()
    await direct.commit(Transaction({}, [Put(KEY, b"theirs")]))
    refused = await several.commit(Transaction({KEY: 0}, [Put(KEY, b"mine")]))
    assert not refused.succeeded and [item.value for item in refused.current.values()] == [b"theirs"]
    await direct.commit(Transaction({}, deletes=[KEY]))
    ways[0].mend()
    late = EtcdStore(EtcdSettings((ways[0].endpoint,)))
    await late.newest_revision()
    await late.close()
    assert await direct.get(KEY) is None


async def test_marks_are_used_again_and_never_one_that_is_in_doubt(
    several: EtcdStore, ways: tuple[TcpProxy, TcpProxy], direct: Store
) -> None:
    for number in range(20):
        assert (await several.commit(Transaction({}, [Put("/a", str(number).encode())]))).succeeded
        assert not (await several.commit(Transaction({"/a": 0}, [Put("/a", b"")]))).succeeded
    assert len((await direct.range("knarr/marks/")).items) == 1
    for way in ways:
        way.mute()
    with pytest.raises(Timeout, match="not known whether the write was stored"):
        await several.commit(Transaction({}, [Put("/a", b"last")]))
    for way in ways:
        way.mend()
    assert (await several.commit(Transaction({}, [Put("/a", b"after")]))).succeeded
    assert len((await direct.range("knarr/marks/")).items) == 2
