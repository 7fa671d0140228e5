"""API servers over a real etcd in this process, a proxy between each server and each member, and a recorder that asks etcd directly."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import envelope
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import StatusError
from services.apiserver.api import Ref
from services.apiserver.backend import Waits
from services.apiserver.bootstrap import USER
from services.apiserver.component import ApiServer
from services.apiserver.settings import ApiServerSettings
from services.apiserver.storage.etcd import EtcdSettings, EtcdStore
from services.apiserver.storage.keys import object_key
from services.apiserver.storage.pages import read_all
from services.apiserver.storage.store import Compacted, FutureRevision, KeyValue, Put, Transaction
from tests.history import candidate
from tests.history.leaders import Leaders
from tests.history.records import Change, Epoch, History, Lead, State
from tests.support.caller import Caller
from tests.support.etcd import EtcdServer, running_members
from tests.support.faces import serving
from tests.support.proxy import TcpProxy

NAMESPACE = "history"
REF = Ref(version_of(core.ConfigMap), NAMESPACE)


# Where candidates say who leads, and where the one that leads writes.
LEASE_KEY = object_key(version_of(coordination.Lease).resource, candidate.LEASE_NAMESPACE, candidate.LEASE)
LED_KEY = object_key(REF.resource, candidate.NAMESPACE, candidate.NAME)
# What etcd's data may come to: much more than a run writes, and little enough to be filled in a moment.
QUOTA_BYTES, FILLING, FILLING_BYTES = 32 << 20, "/filling/", 1 << 20
CANDIDATES = 2


@dataclass(frozen=True, slots=True)
class Shape:
    """``restore``: whether etcd may be restored under the running servers. It may not be where one server is alone: it asks etcd for
    nothing when it reads, and `knarr restore` is refused while the cluster runs."""

    servers: int = 2
    members: int = 1
    restore: bool = True


SHAPES = {"pair": Shape(), "sole": Shape(servers=1, restore=False), "members": Shape(members=3, restore=False)}
# Shorter than the longest pauses: many writes are to end without an answer.
ETCD_SECONDS, CALLER_SECONDS = 1.0, 4.0
WAITS = Waits(sync_seconds=3.0, own_write_seconds=1.5, revision_seconds=1.0, write_seconds=3.0)


def state_of(item: KeyValue) -> State:
    found = core.ConfigMap.FromString(envelope.unwrap(item.value).raw)
    return State(item.revision, found.metadata.uid, dict(found.data))


def holder_of(item: KeyValue) -> str:
    return coordination.Lease.FromString(envelope.unwrap(item.value).raw).spec.holder_identity


def name_of(key: str) -> str:
    return key.removeprefix(f"{REF.resource.key_prefix}{NAMESPACE}/")


class Cluster:
    """``callers`` ask the servers; ``epoch`` counts the restores."""

    def __init__(self, folder: Path, history: History, etcds: Sequence[EtcdServer]) -> None:
        self.folder, self.history, self.etcds = folder, history, etcds
        # Of each server those to all members.
        self.proxies: list[list[TcpProxy]] = []
        self.servers: list[ApiServer] = []
        self.callers: list[Caller] = []
        self.direct: EtcdStore
        self.leaders: Leaders
        self._recording: asyncio.Task[None] | None = None
        # Cleared while clients hold still, because etcd is restored.
        self.open = asyncio.Event()
        self.busy = 0

    @property
    def epoch(self) -> int:
        return len(self.history.epochs) - 1

    async def record(self) -> None:
        """Begins an epoch with what etcd has now, and writes down all that happens in it."""
        items, revision = await read_all(self.direct, REF.resource.key_prefix)
        mine = {name_of(item.key): state_of(item) for item in items if f"/{NAMESPACE}/" in item.key}
        epoch = Epoch(revision, mine)
        self.history.epochs.append(epoch)
        self._recording = asyncio.create_task(self._record(epoch))

    async def _record(self, epoch: Epoch) -> None:
        while True:
            with contextlib.suppress(StatusError):
                async for batch in self.direct.watch("", epoch.reached + 1):
                    for change in batch.changes:
                        item = KeyValue(change.key, change.value or b"", change.revision)
                        if change.key.startswith(f"{REF.resource.key_prefix}{NAMESPACE}/"):
                            epoch.append(Change(change.revision, name_of(change.key), state_of(item) if change.value is not None else None))
                        elif change.key == LEASE_KEY:
                            epoch.leads.append(Lead(item.revision, holder=holder_of(item)))
                        elif change.key == LED_KEY:
                            epoch.leads.append(Lead(item.revision, writer=state_of(item).data["leader"]))
                    epoch.reached = batch.revision
            await asyncio.sleep(0.02)

    async def recorded(self) -> None:
        """Waits until everything that etcd has is written down."""
        newest = await self.direct.newest_revision()
        async with asyncio.timeout(20):
            while self.history.epochs[-1].reached < newest:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def stop_recording(self) -> None:
        if self._recording is not None:
            self._recording.cancel()
            await asyncio.gather(self._recording, return_exceptions=True)

    @property
    def etcd(self) -> EtcdServer:
        """The only member."""
        (found,) = self.etcds
        return found

    async def hold_still(self) -> None:
        """Waits until no client is in a call; they go on when ``open`` is set. Watches stay open."""
        self.open.clear()
        async with asyncio.timeout(3 * CALLER_SECONDS):
            while self.busy:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def snapshot(self) -> Path:
        path = self.folder / "snapshot.db"
        path.unlink(missing_ok=True)
        await asyncio.to_thread(_etcdctl, "--endpoints", self.etcd.endpoint, "snapshot", "save", str(path))
        return path

    async def restore(self, snapshot: Path, token: str) -> None:
        """Puts the snapshot in the place of what etcd has, under the running servers."""
        await self.recorded()
        await self.stop_recording()
        await asyncio.to_thread(self.etcd.stop)
        shutil.rmtree(self.etcd.folder / "data")
        etcd = self.etcd
        await asyncio.to_thread(
            _etcdctl, "snapshot", "restore", str(snapshot), "--data-dir", str(self.etcd.folder / "data"), "--name", etcd.name,
            "--initial-cluster", etcd.initial_cluster, "--initial-advertise-peer-urls", etcd.peer_url, "--initial-cluster-token", token,
        )  # fmt: skip
        await asyncio.to_thread(etcd.start)
        await self.record()

    async def compact(self) -> None:
        """Lets etcd forget what is written down."""
        await self.recorded()
        with contextlib.suppress(Compacted, FutureRevision):  # nothing was written since the last time; a member that is behind
            await self.direct.compact(self.history.epochs[-1].reached)

    async def fill(self) -> None:
        """Others write until etcd refuses more."""
        number = 0
        while not await self.direct.trouble():
            with contextlib.suppress(StatusError):
                await self.direct.commit(Transaction({}, [Put(f"{FILLING}{number}", bytes(FILLING_BYTES))]))
            number += 1

    async def make_room(self) -> None:
        """The way back that docs/install.md tells. A member that is behind may not have let go of what was deleted yet."""
        items, _ = await read_all(self.direct, FILLING)
        for item in items:
            await self.direct.commit(Transaction({item.key: item.revision}, deletes=[item.key]))
        await self.compact()
        for etcd in self.etcds:
            async with asyncio.timeout(30):
                while await asyncio.to_thread(_data_bytes, etcd) > QUOTA_BYTES / 2:
                    await asyncio.to_thread(_etcdctl, "--endpoints", etcd.endpoint, "defrag")
        await asyncio.to_thread(_etcdctl, "--endpoints", self.etcds[0].endpoint, "alarm", "disarm")


@contextlib.asynccontextmanager
async def running_cluster(folder: Path, history: History, source: random.Random, shape: Shape) -> AsyncIterator[Cluster]:
    members = running_members(folder, shape.members, QUOTA_BYTES)
    async with contextlib.AsyncExitStack() as stack:
        etcds = await asyncio.to_thread(members.__enter__)
        stack.push_async_callback(asyncio.to_thread, members.__exit__, None, None, None)
        cluster = Cluster(folder, history, etcds)
        endpoints = tuple(etcd.endpoint for etcd in cluster.etcds)
        cluster.direct = EtcdStore(EtcdSettings(endpoints))
        stack.push_async_callback(cluster.direct.close)
        for _ in range(shape.servers):
            proxies = [TcpProxy(endpoint) for endpoint in endpoints]
            cluster.proxies.append(proxies)
            for proxy in proxies:
                await proxy.start()
                stack.push_async_callback(proxy.close)
            etcd = EtcdSettings(tuple(proxy.endpoint for proxy in proxies), timeout_seconds=ETCD_SECONDS, attempt_seconds=ETCD_SECONDS / 2)
            settings = ApiServerSettings(etcd, shared_store=shape.servers > 1, compaction_seconds=0, repair_seconds=0, waits=WAITS)
            server = ApiServer(settings, grpc.aio.insecure_channel, source=random.Random(source.random()))
            cluster.servers.append(server)
            cluster.callers.append(Caller(server.api, USER, CALLER_SECONDS))
            task = asyncio.create_task(server.run())
            stack.push_async_callback(_ended, task)
            async with asyncio.timeout(20):
                await server.wait_ready()
        await cluster.callers[0].create(
            Ref(version_of(core.Namespace)), core.Namespace(metadata=meta.ObjectMeta(name=NAMESPACE)), meta.CreateOptions()
        )
        await cluster.record()
        stack.push_async_callback(cluster.stop_recording)
        faces = []
        for number in range(CANDIDATES):
            face = folder / f"face-{number}"
            face.mkdir()
            faces.append((await stack.enter_async_context(serving(cluster.servers[number % shape.servers], face)), face))
        cluster.leaders = Leaders(faces, history, random.Random(source.random()))
        stack.push_async_callback(cluster.leaders.stop)
        await cluster.leaders.start()
        cluster.open.set()
        yield cluster


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _etcdctl(*arguments: str) -> bytes:
    done = subprocess.run(["etcdctl", *arguments], check=True, capture_output=True, env={**os.environ, "ETCDCTL_API": "3"})
    return done.stdout


def _data_bytes(etcd: EtcdServer) -> int:
    (status,) = json.loads(_etcdctl("--endpoints", etcd.endpoint, "endpoint", "status", "-w", "json"))
    return int(status["Status"]["dbSize"])
