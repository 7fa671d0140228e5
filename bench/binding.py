"""Pods that exist already until each is bound in etcd, its event included: etcd, API server and scheduler are processes of their own.

Nodes are objects only. Counted are the bindings that etcd shows between the first and the last, so neither the components' start nor their
first lists are part of it; beside the rate stands what a pod costs each process, for a busy machine makes the rate smaller.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from bench.kube_apiserver import cpu_seconds
from bench.result import Result
from bench.scheduler import node, pod
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from services.apiserver.backend import serialize
from services.apiserver.storage.etcd import EtcdSettings, EtcdStore
from services.apiserver.storage.keys import collection_prefix, object_key
from services.apiserver.storage.store import Put, Transaction
from tests.support.components import Components

PODS, FEW_NODES, MANY_NODES = 3000, 1000, 5000
# Pods a second.
TARGETS = {FEW_NODES: 600.0, MANY_NODES: 400.0}
# etcd takes 128 operations in a transaction.
PUT_AT_ONCE = 100
PATIENCE_SECONDS, POLL_SECONDS = 120.0, 0.1
SCHEDULER, SHOWN = "knarr.api.scheduler.v1.SchedulerService", 5
# Kubernetes' own. With those of tests a scheduler on a busy machine loses its lease before it has listed everything, over and over.
ELECTION = ("--leader-elect-lease-duration=15s", "--leader-elect-renew-deadline=10s", "--leader-elect-retry-period=2s")


class _Alone(Components):
    more: Mapping[str, tuple[str, ...]] = {"apiserver": ("--sole",), "scheduler": ELECTION}


def _stored(nodes: int) -> Iterator[core.Node | core.Pod]:
    """Nodes, and pods as the API server stores them."""
    for number in range(nodes):
        yield node(number)
    for number in range(PODS):
        found = pod(number)
        found.spec.scheduler_name, found.spec.restart_policy, found.status.phase = "default-scheduler", "Always", "Pending"
        found.metadata.creation_timestamp.seconds = int(time.time())
        yield found


async def _fill(store: EtcdStore, nodes: int) -> None:
    puts = list[Put]()
    for obj in _stored(nodes):
        resource = version_of(type(obj)).resource
        key = object_key(resource, obj.metadata.namespace, obj.metadata.name)
        puts.append(Put(key, resource.storage.form.wrap(serialize(obj))))
    for first in range(0, len(puts), PUT_AT_ONCE):
        await store.commit(Transaction({}, puts[first : first + PUT_AT_ONCE]))


@asynccontextmanager
async def _running(nodes: int) -> AsyncIterator[tuple[_Alone, EtcdStore]]:
    """etcd with all objects, and an API server that answers."""
    with tempfile.TemporaryDirectory(prefix="knarr-bench-") as folder:
        parts = _Alone(Path(folder))
        try:
            await asyncio.to_thread(parts.etcd.start)
            store = EtcdStore(EtcdSettings(endpoints=(parts.etcd.endpoint,)))
            await _fill(store, nodes)
            parts.start("apiserver")
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not await asyncio.to_thread(parts.healthy, "apiserver"):  # noqa: ASYNC110
                    await asyncio.sleep(POLL_SECONDS)
            yield parts, store
            await store.close()
        finally:
            await asyncio.to_thread(parts.stop)


async def _bound(store: EtcdStore, revision: int) -> AsyncGenerator[str, None]:
    """Names of pods as they are bound in etcd, each once."""
    resource, seen = version_of(core.Pod).resource, set[str]()
    async for batch in store.watch(collection_prefix(resource), revision):
        for change in batch.changes:
            found = core.Pod.FromString(resource.storage.form.unwrap(change.value)[1]) if change.value else core.Pod()
            if found.spec.node_name and found.metadata.name not in seen:
                seen.add(found.metadata.name)
                yield found.metadata.name


def _told(parts: _Alone, bound: int) -> str:
    """What there is to know where not all pods were bound in time."""
    waiting = parts.call("scheduler", f"{SCHEDULER}/GetQueue")
    queue = "the scheduler does not tell who waits" if waiting is None else f"in its queue: {waiting.get('pods', [])[:SHOWN]}"
    return "\n".join([f"{bound} of {PODS} pods were bound after {PATIENCE_SECONDS:g} s; {queue}", *parts.logs()])


async def _pods_per_second(nodes: int) -> float:
    async with _running(nodes) as (parts, store):
        bound = _bound(store, await store.newest_revision() + 1)
        parts.start("scheduler")
        pids = {"scheduler": parts.processes["scheduler"].pid, "apiserver": parts.processes["apiserver"].pid, "etcd": parts.etcd.pid}
        done = 0
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await anext(bound)
                started, before = time.monotonic(), {name: cpu_seconds(pid) for name, pid in pids.items()}
                while (done := done + 1) < PODS:
                    await anext(bound)
                seconds = time.monotonic() - started
        except TimeoutError:
            raise RuntimeError(await asyncio.to_thread(_told, parts, done)) from None
        await bound.aclose()
        own = ", ".join(f"{name} {1000 * (cpu_seconds(pid) - before[name]) / PODS:.2f}" for name, pid in pids.items())
        print(f"  {nodes} nodes: {PODS / seconds:,.0f} pods/s; milliseconds of CPU a pod: {own}", flush=True)
    return PODS / seconds


async def bindings() -> list[Result]:
    """At both sizes."""
    results = []
    for nodes, target in TARGETS.items():
        rate = await _pods_per_second(nodes)
        results.append(Result(f"scheduler-binding-{nodes}", rate, "/s", "", 0, f"≥ {target:g} /s", rate >= target))
    return results
