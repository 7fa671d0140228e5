"""Two API servers on one real etcd: what one has answered, the other knows; nothing is given twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from aetcd import rpc

from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import ServiceUnavailable, StatusError
from services.apiserver import announcement, component
from services.apiserver.api import Ref
from services.apiserver.bootstrap import USER
from services.apiserver.compaction import Compactor
from services.apiserver.component import ApiServer
from services.apiserver.settings import ApiServerSettings
from services.apiserver.storage.etcd import EtcdSettings
from services.apiserver.storage.newest import MOST_AT_ONCE, Newest
from services.apiserver.storage.store import Batch, Change
from tests.apiserver.core.conftest import empty
from tests.support.caller import Caller
from tests.support.etcd import EtcdServer

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(60)]
REF = Ref(version_of(core.ConfigMap), "default")
LAG_SECONDS = 0.1
ADDRESSES = ("10.1.1.1", "10.1.1.2")


def config_map(name: str, **data: str) -> core.ConfigMap:
    obj = core.ConfigMap()
    obj.metadata.name, obj.metadata.namespace = name, "default"
    obj.data.update(data)
    return obj


def named(name: str) -> Ref:
    return Ref(REF.version, "default", name)


def call(server: ApiServer) -> Caller:
    return Caller(server.api, USER)


@contextlib.asynccontextmanager
async def server(endpoint: str, address: str = "", *, shared: bool = True, lag_seconds: float = 0.0) -> AsyncIterator[ApiServer]:
    """A started server; with ``lag_seconds`` its cache learns everything that much later."""
    settings = ApiServerSettings(EtcdSettings((endpoint,)), shared_store=shared, advertise_address=address, service_cidr="10.96.0.0/24")
    made = ApiServer(settings, grpc.aio.insecure_channel)
    if lag_seconds:
        _delay(made, lag_seconds)
    task = asyncio.create_task(made.run())
    try:
        async with asyncio.timeout(15):
            await made.wait_ready()
        yield made
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _delay(made: ApiServer, seconds: float) -> None:
    watch = made.backend.store.watch

    async def late(prefix: str, revision: int, after: Change | None = None) -> AsyncIterator[Batch]:
        async with contextlib.aclosing(watch(prefix, revision, after)) as stream:  # type: ignore[type-var]
            async for batch in stream:
                await asyncio.sleep(seconds)
                yield batch

    made.backend.store.watch = late  # type: ignore[method-assign]


@pytest.fixture
async def endpoint(etcd_server: EtcdServer) -> str:
    await empty(etcd_server.endpoint)
    return etcd_server.endpoint


@pytest.fixture
async def pair(endpoint: str) -> AsyncIterator[tuple[ApiServer, ApiServer]]:
    """A server, and one that lags."""
    async with server(endpoint) as first, server(endpoint, lag_seconds=LAG_SECONDS) as second:
        yield first, second


async def test_what_one_server_answered_the_other_reads(pair: tuple[ApiServer, ApiServer]) -> None:
    first, second = pair
    for number in range(5):
        await call(first).create(REF, config_map(f"c-{number}"), meta.CreateOptions())
        got, page = await asyncio.gather(call(second).get(named(f"c-{number}")), call(second).list(REF, meta.ListOptions()))
        assert got.entry is not None and len(page.entries) == number + 1
    changed = await call(first).update(named("c-0"), config_map("c-0", a="1"), meta.UpdateOptions())
    assert (await call(second).get(named("c-0"))).message.data == {"a": "1"}  # type: ignore[attr-defined]
    await call(first).delete(named("c-1"), meta.DeleteOptions())
    with pytest.raises(StatusError, match="not found"):
        await call(second).get(named("c-1"))
    limited = await call(second).list(REF, meta.ListOptions(limit=2))
    assert [entry.name for entry in limited.entries] == ["c-0", "c-2"] and limited.revision >= changed.entry.revision  # type: ignore[union-attr]


async def test_a_reader_that_takes_any_state_does_not_wait(pair: tuple[ApiServer, ApiServer]) -> None:
    first, second = pair
    await call(first).create(REF, config_map("c"), meta.CreateOptions())
    page = await call(second).list(REF, meta.ListOptions(resource_version="0"))
    assert [entry.name for entry in page.entries] == []
    with pytest.raises(StatusError, match="not found"):
        await call(second).get(named("c"), "0")


async def test_a_server_that_is_alone_asks_nobody(endpoint: str) -> None:
    async with server(endpoint, shared=False) as alone:
        asked = 0

        async def ask() -> int:
            nonlocal asked
            asked += 1
            return 0

        alone.backend._newest = Newest(ask)
        await call(alone).create(REF, config_map("c"), meta.CreateOptions())
        await call(alone).get(named("c"))
        await call(alone).list(REF, meta.ListOptions())
        assert asked == 0


@pytest.mark.parametrize("match", ["NotOlderThan", "Exact"])
async def test_a_revision_of_the_other_server_is_waited_for(pair: tuple[ApiServer, ApiServer], match: str) -> None:
    first, second = pair
    written = await call(first).create(REF, config_map("c"), meta.CreateOptions())
    revision = str(written.entry.revision)  # type: ignore[union-attr]
    page = await call(second).list(REF, meta.ListOptions(resource_version=revision, resource_version_match=match))
    assert [entry.name for entry in page.entries] == ["c"]
    assert (await call(second).get(named("c"), revision)).entry is not None


async def test_a_watch_goes_on_at_the_other_server(pair: tuple[ApiServer, ApiServer]) -> None:
    """From a revision that this one has not seen yet, without a gap and without a repetition."""
    first, second = pair
    written = [(await call(first).create(REF, config_map(f"c-{n}"), meta.CreateOptions())).entry for n in range(4)]
    stream = call(second).watch(REF, meta.ListOptions(resource_version=str(written[1].revision)))  # type: ignore[union-attr]
    seen: list[str] = []
    async with asyncio.timeout(5):
        async for batch in stream:
            seen += [event.entry.name for event in batch if event.entry]
            if len(seen) == 2:
                break
    assert seen == ["c-2", "c-3"]
    await stream.aclose()  # type: ignore[attr-defined]


async def test_a_patch_that_changes_nothing_here_undoes_what_the_other_server_wrote(pair: tuple[ApiServer, ApiServer]) -> None:
    first, second = pair
    await call(first).create(REF, config_map("c", key="before"), meta.CreateOptions())
    await call(second).get(named("c"))
    await call(first).patch(named("c"), "merge", b'{"data": {"key": "after"}}', meta.PatchOptions())
    written = await call(second).patch(named("c"), "merge", b'{"data": {"key": "before"}}', meta.PatchOptions())
    assert written.message.data == {"key": "before"}  # type: ignore[attr-defined]
    assert (await call(first).get(named("c"))).message.data == {"key": "before"}  # type: ignore[attr-defined]


async def test_a_refusal_is_not_made_on_what_the_other_server_has_changed(pair: tuple[ApiServer, ApiServer]) -> None:
    first, second = pair
    await call(first).create(REF, config_map("c", key="1"), meta.CreateOptions())
    await call(second).get(named("c"))
    await call(first).patch(named("c"), "merge", b'{"data": {"key": "2"}}', meta.PatchOptions())
    tested = b'[{"op": "test", "path": "/data/key", "value": "2"}, {"op": "replace", "path": "/data/key", "value": "3"}]'
    written = await call(second).patch(named("c"), "json", tested, meta.PatchOptions())
    assert written.message.data == {"key": "3"}  # type: ignore[attr-defined]


async def test_many_readers_share_a_question() -> None:
    asked: list[asyncio.Future[int]] = []

    async def ask() -> int:
        asked.append(asyncio.get_running_loop().create_future())
        return await asked[-1]

    newest = Newest(ask)
    early = [asyncio.create_task(newest.revision()) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    late = [asyncio.create_task(newest.revision()) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(asked) == 1
    asked[0].set_result(7)
    assert await asyncio.gather(*early) == [7] * 50
    while len(asked) == 1:  # noqa: ASYNC110
        await asyncio.sleep(0)
    asked[1].set_result(9)
    assert await asyncio.gather(*late) == [9] * 50
    failing = asyncio.create_task(newest.revision())
    while len(asked) == 2:  # noqa: ASYNC110
        await asyncio.sleep(0)
    asked[2].set_exception(RuntimeError("away"))
    with pytest.raises(RuntimeError, match="away"):
        await failing


async def test_who_waits_for_no_answer_does_not_wait_for_what_others_ask_all_the_time() -> None:
    asked: list[asyncio.Future[int]] = []

    async def ask() -> int:
        asked.append(asyncio.get_running_loop().create_future())
        return await asked[-1]

    async def turns() -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    newest = Newest(ask)
    readers = []
    for caller in ("noisy", "noisy", "quiet", "quiet", "noisy"):
        readers.append(asyncio.create_task(newest.revision(caller)))
        await turns()
    # Who waits already waits for the next one; that of the quiet one takes along whoever has asked before him.
    assert len(asked) == 2
    asked[1].set_result(8)
    await turns()
    assert [reader.done() for reader in readers] == [False, True, True, False, False]
    asked[0].set_result(7)
    await turns()
    assert len(asked) == 3
    asked[2].set_result(9)
    assert await asyncio.gather(*readers) == [7, 8, 8, 9, 9]
    # Many callers have no question each.
    readers = [asyncio.create_task(newest.revision(f"caller-{number}")) for number in range(MOST_AT_ONCE)]
    for number in range(2 * MOST_AT_ONCE):
        readers.append(asyncio.create_task(newest.revision(f"late-{number}")))
        await turns()
    assert len(asked) == 3 + MOST_AT_ONCE
    while not all(reader.done() for reader in readers):
        for question in asked:
            if not question.done():
                question.set_result(10)
        await turns()
    assert len(asked) == 4 + MOST_AT_ONCE


async def test_no_number_is_given_twice(endpoint: str) -> None:
    """Both servers create and delete Services at the same time."""
    async with server(endpoint) as first, server(endpoint) as second:
        ref = Ref(version_of(core.Service), "default")

        async def create(api: Any, name: str) -> None:
            service = core.Service()
            service.metadata.name, service.metadata.namespace, service.spec.type = name, "default", "NodePort"
            service.spec.ports.add(port=80)
            await api.create(ref, service, meta.CreateOptions())

        async def churn(api: Any, prefix: str) -> None:
            for number in range(12):
                await create(api, f"{prefix}-{number}")
                if number % 3 == 0:
                    await api.delete(Ref(ref.version, "default", f"{prefix}-{number}"), meta.DeleteOptions())

        workers = [churn(api, f"{name}{worker}") for worker in range(3) for name, api in (("a", call(first)), ("b", call(second)))]
        await asyncio.gather(*workers)
        found = [entry.message for entry in (await call(first).list(ref, meta.ListOptions())).entries]
        services: list[Any] = [service for service in found if service.metadata.name != "kubernetes"]  # type: ignore[attr-defined]
        assert len(services) == 48
        assert len({service.spec.cluster_ip for service in services}) == 48
        assert len({service.spec.ports[0].node_port for service in services}) == 48
        taken, _ = await first.allocators.address_ledger.read()
        assert len(taken - {first.allocators.addresses.first}) == 48


async def test_servers_that_start_at_once_on_an_empty_store_agree(endpoint: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        entering = [stack.enter_async_context(server(endpoint, address)) for address in ADDRESSES]
        first, second = await asyncio.gather(*entering)
        await first._announcer.announce()
        for found in (first, second):
            client = found.client(USER)
            assert [lease.spec.holder_identity for lease in (await client.list(coordination.Lease, "kube-system")).items] == [*ADDRESSES]
            assert await announced(found) == [*ADDRESSES]
            assert len((await client.list(core.Namespace)).items) == 4


async def announced(found: ApiServer) -> list[str]:
    """The endpoints of the kubernetes Service, which both kinds must name alike."""
    client = found.client(USER)
    endpoints = await client.get(core.Endpoints, "kubernetes", "default")
    piece = await client.get(discovery.EndpointSlice, "kubernetes", "default")
    addresses = [address.ip for address in endpoints.subsets[0].addresses]
    assert [endpoint.addresses[0] for endpoint in piece.endpoints] == addresses
    return addresses


async def test_a_server_that_stops_takes_itself_out_and_a_silent_one_is_dropped(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with server(endpoint, ADDRESSES[0]) as first:
        async with server(endpoint, ADDRESSES[1]):
            assert await announced(first) == [*ADDRESSES]
        assert await announced(first) == [ADDRESSES[0]]
        silent = announcement.Announcer(first.client(USER), ADDRESSES[1], 6443, shared=True)
        await silent.announce()
        await first._announcer.announce()
        assert await announced(first) == [*ADDRESSES]
        monkeypatch.setattr(announcement, "DURATION_SECONDS", 1)
        async with asyncio.timeout(10):
            while await announced(first) != [ADDRESSES[0]]:
                await asyncio.sleep(0.05)
                await first._announcer.announce()
        leases = (await first.client(USER).list(coordination.Lease, "kube-system")).items
        assert [lease.spec.holder_identity for lease in leases] == [ADDRESSES[0]]


async def test_the_last_server_leaves_the_endpoints_for_its_return(endpoint: str) -> None:
    async with server(endpoint, ADDRESSES[0]):
        pass
    async with server(endpoint, shared=False) as later:
        assert await announced(later) == [ADDRESSES[0]]


async def test_a_server_is_not_ready_while_etcd_is_out_of_space(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(component, "MEASURE_SECONDS", 0.02)
    async with server(endpoint) as found:
        store: Any = found.backend.store

        async def alarm(action: Any, member: int = 0) -> Any:
            request = rpc.AlarmRequest(action=action, alarm=rpc.NOSPACE, memberID=member)
            return await store._calls.ask("alarm", lambda asked: asked.alarm, request)

        async def until_space(ready: bool) -> None:
            async with asyncio.timeout(10):
                while found.checks["etcd-space"]() != ready:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

        await until_space(True)
        raised = await alarm(rpc.AlarmRequest.ACTIVATE)
        try:
            await until_space(False)
            assert found.checks["etcd"]() and found.checks["cache"]()
            with pytest.raises(ServiceUnavailable, match=r"is full.*Nothing was written"):
                await call(found).create(REF, config_map("c"), meta.CreateOptions())
        finally:
            await alarm(rpc.AlarmRequest.DEACTIVATE, raised.alarms[0].memberID)
        await until_space(True)
        await call(found).create(REF, config_map("c"), meta.CreateOptions())


async def test_two_compactors_share_their_rounds(endpoint: str) -> None:
    """Each round is one server's; what is compacted to is a revision of a whole period ago."""
    async with server(endpoint) as first, server(endpoint) as second:
        compactors = [Compactor(found.backend.store, 300.0) for found in (first, second)]
        for compactor in compactors:
            await compactor.compact_once()
        rounds = []
        for number in range(6):
            await call(first).create(REF, config_map(f"c-{number}"), meta.CreateOptions())
            rounds.append([await compactor.compact_once() for compactor in compactors])
        done = [revision for both in rounds for revision in both if revision]
        assert all(not (one and other) for one, other in rounds) and len(done) >= 3
        assert done == sorted(set(done))


async def test_the_cache_comes_to_revisions_that_are_not_about_objects(pair: tuple[ApiServer, ApiServer]) -> None:
    first, second = pair
    outcome = await Compactor(first.backend.store, 300.0).compact_once()
    assert outcome == 0
    async with asyncio.timeout(2):
        await call(second).list(REF, meta.ListOptions())
    newest = await first.backend.store.newest_revision()
    assert second.backend.cache.revision >= newest
