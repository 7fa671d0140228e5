"""Faults of a real etcd: killed and back, compacted under a reader's feet."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from aetcd import rpc

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import Expired, StatusError
from services.apiserver.allocators.addresses import AddressRange
from services.apiserver.allocators.numbers import NumberRange
from services.apiserver.allocators.services import ServiceAllocators
from services.apiserver.api import Ref
from services.apiserver.backend import Waits
from services.apiserver.compaction import Compactor
from services.apiserver.storage.etcd import EtcdSettings, EtcdStore
from services.apiserver.storage.members import Member
from services.apiserver.storage.wire.channel import Question
from tests.apiserver.core.conftest import create_namespace, running_backend
from tests.support.caller import Caller
from tests.support.etcd import EtcdServer

pytestmark = pytest.mark.etcd
REF = Ref(version_of(core.ConfigMap), "default")
AWAY_SECONDS = 10.0


def config_map(name: str) -> core.ConfigMap:
    obj = core.ConfigMap()
    obj.metadata.name = name
    return obj


async def create(api: Caller, name: str) -> int:
    return (await api.create(REF, config_map(name), meta.CreateOptions())).entry.revision  # type: ignore[union-attr]


async def test_etcd_killed_for_ten_seconds_and_back(own_etcd: EtcdServer) -> None:
    async with running_backend(own_etcd.endpoint) as backend:
        api = Caller.of(backend)
        await create_namespace(api, "default")
        before = await create(api, "before")
        seen: list[str] = []

        async def follow() -> None:
            async for batch in api.watch(REF, meta.ListOptions(resource_version=str(before))):
                seen.extend(event.entry.name for event in batch if event.entry)

        watcher = asyncio.create_task(follow())
        own_etcd.kill()
        killed = asyncio.get_running_loop().time()
        with pytest.raises(StatusError) as caught:
            await create(api, "during")
        assert caught.value.reason in ("ServiceUnavailable", "Timeout") and own_etcd.endpoint in caught.value.status.message
        assert asyncio.get_running_loop().time() - killed < 6  # bounded
        assert [entry.name for entry in (await api.list(REF, meta.ListOptions())).entries] == ["before"]
        await asyncio.sleep(AWAY_SECONDS - (asyncio.get_running_loop().time() - killed))
        await asyncio.to_thread(own_etcd.start)
        async with asyncio.timeout(10):
            await create(api, "after")
            while "after" not in seen:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert not watcher.done()
        watcher.cancel()
        names = [entry.name for entry in (await api.list(REF, meta.ListOptions())).entries]
        assert names in (["after", "before"], ["after", "before", "during"])


async def test_a_hanging_etcd_holds_nobody_longer_than_the_bound(own_etcd: EtcdServer) -> None:
    async with running_backend(own_etcd.endpoint, timeout_seconds=0.4, waits=Waits(write_seconds=0.8)) as backend:
        addresses, ports = AddressRange("10.96.0.0/24"), NumberRange(30000, 30010)
        api = Caller.of(backend, ServiceAllocators(backend.store, addresses, ports))
        await create_namespace(api, "default")
        await create(api, "before")
        own_etcd.pause()
        try:
            started = asyncio.get_running_loop().time()
            refused = await asyncio.gather(*(write for number in range(6) for write in writes(api, number)), return_exceptions=True)
            assert asyncio.get_running_loop().time() - started < 2
            assert [entry.name for entry in (await api.list(REF, meta.ListOptions())).entries] == ["before"]
        finally:
            own_etcd.resume()
        for error in refused:
            assert isinstance(error, StatusError) and (error.code, error.reason) == (504, "Timeout"), error
            assert "etcd" in str(error) and "try again" in str(error) and not error.status.details.retry_after_seconds
        async with asyncio.timeout(10):
            await create(api, "after")


def writes(api: Caller, number: int) -> list[Coroutine[Any, Any, Any]]:
    """One write of every sort: those that wait for a lease or for an address wait in a row."""
    service = core.Service()
    service.metadata.name = f"s{number}"
    service.spec.ports.add(port=80)
    event = core.Event()
    event.metadata.name, event.involved_object.namespace = f"e{number}", "default"
    kinds = version_of(core.Service), version_of(core.Event)
    return [
        create(api, f"c{number}"),
        api.patch(Ref(REF.version, "default", "before"), "merge", b'{"data":{"a":"b"}}', meta.PatchOptions()),
        api.create(Ref(kinds[0], "default"), service, meta.CreateOptions()),
        api.create(Ref(kinds[1], "default"), event, meta.CreateOptions()),
    ]


async def test_pages_outlive_other_writes_but_not_compaction(own_etcd: EtcdServer) -> None:
    async with running_backend(own_etcd.endpoint) as backend:
        api = Caller.of(backend)
        await create_namespace(api, "default")
        for name in "abcd":
            await create(api, name)
        first = await api.list(REF, meta.ListOptions(limit=2))
        assert ([entry.name for entry in first.entries], first.remaining) == (["a", "b"], 2)
        newest = await create(api, "bb")
        await api.delete(Ref(REF.version, "default", "d"), meta.DeleteOptions())
        second = await api.list(REF, meta.ListOptions(limit=2, continue_token=first.continue_token))
        assert [entry.name for entry in second.entries] == ["c", "d"]
        assert (second.revision, second.continue_token) == (first.revision, "")
        exact = await api.list(REF, meta.ListOptions(resource_version=str(newest), resource_version_match="Exact"))
        assert [entry.name for entry in exact.entries] == ["a", "b", "bb", "c", "d"] and exact.revision == newest
        await backend.store.compact(newest)
        with pytest.raises(StatusError) as caught:
            await api.list(REF, meta.ListOptions(limit=2, continue_token=first.continue_token))
        assert (caught.value.code, caught.value.reason) == (410, "Expired")
        rest = await api.list(REF, meta.ListOptions(limit=9, continue_token=caught.value.status.metadata.continue_token))
        assert [entry.name for entry in rest.entries] == ["bb", "c"]


async def test_a_feed_that_was_cut_off_across_a_compaction_ends_its_watches(own_etcd: EtcdServer) -> None:
    """The server goes away while the feed is behind; history is compacted before it comes back."""
    async with running_backend(own_etcd.endpoint) as backend:
        api = Caller.of(backend)
        await create_namespace(api, "default")
        await create(api, "gone")
        seen: list[tuple[str, str]] = []
        position = meta.ListOptions(resource_version=str(await create(api, "stays")))

        async def follow() -> None:
            async for batch in api.watch(REF, position):
                seen.extend((event.type, event.entry.name) for event in batch if event.entry)

        watcher = asyncio.create_task(follow())
        real_watch = backend.store.watch
        stopped = asyncio.Event()

        async def no_watch(prefix: str, revision: int, after: Any = None) -> Any:
            await stopped.wait()
            async for batch in real_watch(prefix, revision, after):
                yield batch

        backend.store.watch = no_watch  # type: ignore[method-assign]
        own_etcd.kill()
        await asyncio.to_thread(own_etcd.start)
        other = EtcdStore(EtcdSettings((own_etcd.endpoint,)))
        async with running_backend(own_etcd.endpoint) as others_backend:
            others = Caller.of(others_backend)
            await others.delete(Ref(REF.version, "default", "gone"), meta.DeleteOptions())
            newest = await create(others, "new")
            await other.compact(newest)
        await other.close()
        stopped.set()
        with pytest.raises(Expired):
            async with asyncio.timeout(10):
                await watcher
        assert seen == []
        assert [entry.name for entry in (await api.list(REF, meta.ListOptions())).entries] == ["new", "stays"]


async def test_compaction_keeps_one_period(own_etcd: EtcdServer) -> None:
    store = EtcdStore(EtcdSettings((own_etcd.endpoint,)))
    one, two = Compactor(store, 300), Compactor(store, 300)
    try:
        assert await one.compact_once() == 0
        assert await two.compact_once() == 0  # the key is young for the second server
        first = await one.compact_once()
        assert first > 0
        assert await two.compact_once() == 0  # the first one was faster this period
        assert await two.compact_once() > first
    finally:
        await store.close()


async def test_events_expire_by_lease(own_etcd: EtcdServer) -> None:
    async with running_backend(own_etcd.endpoint) as backend:
        api = Caller.of(backend)
        await create_namespace(api, "default")
        event = core.Event(type="Normal", reason="R", message="m")
        event.metadata.name = "e"
        event.involved_object.kind, event.involved_object.namespace = "Pod", "default"
        version = version_of(core.Event)
        await api.create(Ref(version, "default"), event, meta.CreateOptions())
        await api.patch(Ref(version, "default", "e"), "merge", b'{"count":2}', meta.PatchOptions())
        leases = backend.store._leases  # type: ignore[attr-defined]
        (lease, _), *others = leases._granted.values()
        assert lease and not others
        await leases._call("revoke", _revoking, _revoke(lease))
        async with asyncio.timeout(5):
            while backend.cache.get(version.resource, "default", "e"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        event.metadata.name = "f"  # the lease is gone: a new one is granted
        await api.create(Ref(version, "default"), event, meta.CreateOptions())


def _revoking(member: Member) -> Question[Any]:
    return member._channel.question("/etcdserverpb.Lease/LeaseRevoke", rpc.LeaseRevokeResponse)


def _revoke(lease: int) -> Any:
    return rpc.LeaseRevokeRequest(ID=lease)


def etcdctl(*arguments: str) -> None:
    subprocess.run(["etcdctl", *arguments], check=True, capture_output=True, env={**os.environ, "ETCDCTL_API": "3"})


def restore_and_move_on(etcd: EtcdServer, folder: Path, snapshot: Path, puts: int) -> None:
    """Restores the data of an etcd that has stopped, and lets it come past its former revisions before it is back."""
    shutil.rmtree(folder / "data")
    etcdctl(
        "snapshot", "restore", str(snapshot), "--data-dir", str(folder / "data"), "--name", etcd.name,
        "--initial-cluster", etcd.initial_cluster, "--initial-advertise-peer-urls", etcd.peer_url, "--initial-cluster-token", "another",
    )  # fmt: skip
    elsewhere = EtcdServer(folder, etcd.name)
    elsewhere.start()
    try:
        for number in range(puts):
            etcdctl("--endpoints", elsewhere.endpoint, "put", f"/registry/unknown/{number}", "x")
    finally:
        elsewhere.stop()


async def test_an_etcd_that_was_restored_under_a_running_server_is_not_taken_for_the_one_before(
    own_etcd: EtcdServer, tmp_path: Path
) -> None:
    """Although its revisions have come past those of before meanwhile."""
    async with running_backend(own_etcd.endpoint) as backend:
        api = Caller.of(backend)
        await create_namespace(api, "default")
        await create(api, "kept")
        snapshot = tmp_path / "snapshot.db"
        await asyncio.to_thread(etcdctl, "--endpoints", own_etcd.endpoint, "snapshot", "save", str(snapshot))
        lost = [await create(api, f"lost-{number}") for number in range(3)]
        stream = api.watch(REF, meta.ListOptions(resource_version=str(lost[1])))
        assert [event.entry.name for event in await anext(stream) if event.entry] == ["lost-2"]
        following = asyncio.ensure_future(anext(stream))
        await asyncio.to_thread(own_etcd.stop)
        await asyncio.to_thread(restore_and_move_on, own_etcd, tmp_path, snapshot, 10)
        await asyncio.to_thread(own_etcd.start)
        with pytest.raises(StatusError, match="too old resource version"):
            async with asyncio.timeout(20):
                await following
        names = [entry.name for entry in (await api.list(REF, meta.ListOptions())).entries]
        assert names == ["kept"] and backend.cache.revision > lost[-1]
        with pytest.raises(StatusError, match="too old resource version"):
            await anext(api.watch(REF, meta.ListOptions(resource_version=str(lost[0]))))
