"""Reads under load: GET and LIST beside kube-apiserver in the same run, lists of very many objects, many pods, and many watchers."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bench.api import LIST_PODS, SECONDS, pod, wrk
from bench.cluster import Server, cluster, resident_megabytes, session
from bench.kube_apiserver import apiserver, beside_kubernetes, cpu_seconds
from bench.lister import lists
from bench.result import Result
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from services.apiserver.backend import serialize
from services.apiserver.storage.etcd import EtcdSettings, EtcdStore
from services.apiserver.storage.keys import object_key
from services.apiserver.storage.store import Put, Transaction
from tests.support.components import Components

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
GETS_AT_ONCE, LISTS_AT_ONCE = 16, 4
# What kube-apiserver did on a machine of the kind, recorded 2026-11-28.
RECORDED_GETS, RECORDED_LISTS = 4800.0, 80.0
# What kube-apiserver's cache needs for it: KEP-2340.
LISTED, RECORDED_LIST_MS, LIST_TARGET_MS = 300_000, 650.0, 650.0
# etcd takes 128 operations in a transaction.
PUT_AT_ONCE, TRANSACTIONS_AT_ONCE = 100, 8
OTHERS_TARGET_MS, BYTES_TARGET = 50.0, 2048.0
ASK_SECONDS = 0.01
MANY_PODS, MANY_PODS_TARGET_MB = 10_000, 250.0
MADE_AT_ONCE, SETTLE_SECONDS = 32, 40.0
WATCHERS, WRITES_A_SECOND, WATCHED_SECONDS, WATCH_TARGET_MS = 1000, 100.0, 20.0, 200.0
# Different objects are written, so that no write waits for another.
WATCHED = 100


def config_map(name: str, **data: str) -> dict[str, Any]:
    """Of about a kilobyte."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v" * 900, **data}}


async def peer_reads() -> list[Result]:
    """GET of one ConfigMap, LIST of 1,000 pods."""
    async with beside_kubernetes() as sides:
        for side in sides.all:
            await side.server.request("POST", CONFIG_MAPS, config_map("one"))
            # No controller makes it here, and no pod is taken without.
            await side.server.request("POST", ACCOUNTS, {"metadata": {"name": "default"}, "automountServiceAccountToken": False})
            for first in range(0, LIST_PODS, MADE_AT_ONCE):
                numbers = range(first, min(first + MADE_AT_ONCE, LIST_PODS))
                await asyncio.gather(*(side.server.request("POST", PODS, pod(f"p{number:04}")) for number in numbers))
        gets = await sides.compare("peer-get", _gets, recorded=RECORDED_GETS, at_least=2.5)
        lists = await sides.compare("peer-list", _lists, recorded=RECORDED_LISTS, at_least=10.0)
        if sides.theirs is None:
            # Nothing was recorded of lists as Go's clients ask for them.
            return [gets, lists]
        return [gets, lists, await sides.compare("peer-list-gzip", _gzipped_lists, recorded=0.0, at_least=10.0)]


async def _gets(server: Server) -> float:
    return await wrk(server, f"{CONFIG_MAPS}/one", connections=GETS_AT_ONCE)


async def _lists(server: Server) -> float:
    return await lists(f"{server.server}{PODS}?resourceVersion=0", server.token, connections=LISTS_AT_ONCE, seconds=SECONDS)


async def _gzipped_lists(server: Server) -> float:
    """As Go's clients ask, kubectl among them. These answers are short, and of another length each time where they come in chunks."""
    return await wrk(server, f"{PODS}?resourceVersion=0", connections=LISTS_AT_ONCE, headers=("Accept-Encoding: gzip",))


class _Alone(Components):
    """An API server as a process of its own, over an etcd of its own."""

    @property
    def pid(self) -> int:
        return self.processes["apiserver"].pid

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Server]:
        """Ready once it holds what lies in etcd."""
        self.start("apiserver")
        try:
            async with session(self.data_dir / "ca.crt", "secret-of-admin") as shown:
                server = Server(self.server, "secret-of-admin", shown)
                await server.wait_until_ready(lambda: "\n".join(self.logs()))
                yield server
        finally:
            await asyncio.to_thread(self.terminate, "apiserver")


async def _fill(endpoint: str) -> int:
    """Puts the listed ConfigMaps into etcd; the bytes of one."""
    resource = version_of(core.ConfigMap).resource
    store = EtcdStore(EtcdSettings(endpoints=(endpoint,)))
    filled = core.ConfigMap(data={"k": "v" * 700})
    filled.metadata.namespace, filled.metadata.uid = "default", "0b0a3c1e-1111-4222-8333-123456789abc"
    filled.metadata.creation_timestamp.seconds = int(time.time())
    managed = filled.metadata.managed_fields.add(manager="bench", operation="Update", api_version="v1", fields_type="FieldsV1")
    managed.time.seconds, managed.fields_v1.raw = int(time.time()), b'{"f:data":{".":{},"f:k":{}}}'
    size_bytes = 0

    async def put(first: int) -> None:
        nonlocal size_bytes
        puts = []
        for number in range(first, first + PUT_AT_ONCE):
            filled.metadata.name = f"listed-{number:06}"
            raw = serialize(filled)
            puts.append(Put(object_key(resource, "default", filled.metadata.name), resource.storage.form.wrap(raw)))
            size_bytes = len(raw)
        await store.commit(Transaction({}, puts))

    step = PUT_AT_ONCE * TRANSACTIONS_AT_ONCE
    for begin in range(0, LISTED, step):
        await asyncio.gather(*(put(first) for first in range(begin, min(begin + step, LISTED), PUT_AT_ONCE)))
    await store.close()
    return size_bytes


async def _listed(server: Server, alone: _Alone) -> tuple[float, float]:
    """The API server's own milliseconds for one consistent list, and those that others waited at most meanwhile."""
    waits: list[float] = []
    asking = asyncio.create_task(_ask(server, alone.data_dir / "ca.crt", waits))
    before, size_bytes = cpu_seconds(alone.pid), 0
    async with server.session.get(server.server + CONFIG_MAPS) as answer:
        async for piece in answer.content.iter_any():
            size_bytes += len(piece)
    own_ms = 1000 * (cpu_seconds(alone.pid) - before)
    asking.cancel()
    print(f"  {size_bytes / 1e6:,.0f} MB in {own_ms:,.0f} ms of its own time; others waited {max(waits):.0f} ms at most", flush=True)
    return own_ms, max(waits)


async def _ask(server: Server, ca: Path, waits: list[float]) -> None:
    """What others ask meanwhile, each on its own."""
    async with session(ca, server.token) as shown:
        while True:
            started = time.monotonic()
            async with shown.get(f"{server.server}/livez") as answer:
                await answer.read()
            waits.append(1000 * (time.monotonic() - started))
            await asyncio.sleep(ASK_SECONDS)


async def long_list() -> list[Result]:
    """A consistent LIST of 300,000 ConfigMaps of 1 KB from the cache of an API server that is a process of its own."""
    with tempfile.TemporaryDirectory(prefix="knarr-bench-") as folder:
        alone = _Alone(Path(folder))
        await asyncio.to_thread(alone.etcd.start)
        try:
            async with alone.running():
                empty = resident_megabytes(alone.pid)
            size_bytes = await _fill(alone.etcd.endpoint)
            async with alone.running() as server:
                cold, _ = await _listed(server, alone)
                warm = [await _listed(server, alone) for _ in range(3)]
                full = resident_megabytes(alone.pid)
        finally:
            await asyncio.to_thread(alone.stop)
    own = statistics.median(ms for ms, _ in warm)
    others = statistics.median(ms for _, ms in warm)
    beyond = 1024 * 1024 * (full - empty) / LISTED - size_bytes
    peer, limit, more = "kube-apiserver (KEP-2340)", f"≤ {OTHERS_TARGET_MS:g} ms", f"≤ {BYTES_TARGET:g} bytes more"
    return [
        Result("list-300000", own, "ms", peer, RECORDED_LIST_MS, f"≤ {LIST_TARGET_MS:g} ms of its own time", own <= LIST_TARGET_MS),
        Result("list-300000-first", cold, "ms", "once its JSON is made", own, "told", True),
        Result("list-300000-others", others, "ms", "the limit", OTHERS_TARGET_MS, limit, others <= OTHERS_TARGET_MS),
        Result("list-300000-memory", beyond, "bytes", "its own bytes", size_bytes, more, beyond <= BYTES_TARGET),
    ]


def large_pod(name: str) -> dict[str, Any]:
    """A pod that is between 3 and 4 KB of JSON once it has its defaults and managers."""
    found = pod(name)
    container = found["spec"]["containers"][0]
    container["readinessProbe"] = {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 5}
    container["volumeMounts"] = [{"name": "config", "mountPath": "/etc/app"}]
    found["spec"]["volumes"] = [{"name": "config", "configMap": {"name": "app"}}]
    return found


async def many_pods() -> list[Result]:
    """The API server alone, with 10,000 pods in its cache; what it takes once their JSON was listed is told beside."""
    async with apiserver() as side:
        empty = resident_megabytes(side.pid)
        await side.server.request("POST", ACCOUNTS, {"metadata": {"name": "default"}})
        for first in range(0, MANY_PODS, MADE_AT_ONCE):
            numbers = range(first, min(first + MADE_AT_ONCE, MANY_PODS))
            await asyncio.gather(*(side.server.request("POST", PODS, large_pod(f"p{number:05}")) for number in numbers))
        await asyncio.sleep(SETTLE_SECONDS)
        full = resident_megabytes(side.pid)
        async with side.server.session.get(f"{side.server.server}{PODS}?resourceVersion=0") as answer:
            size_bytes = len(await answer.read())
        listed = resident_megabytes(side.pid)
    print(f"  a pod is {size_bytes / MANY_PODS:,.0f} bytes of JSON; {listed:.0f} MB once they were listed", flush=True)
    target = f"≤ {MANY_PODS_TARGET_MB:g} MB"
    return [Result("memory-10000-pods", full, "MB", "without pods", empty, target, full <= MANY_PODS_TARGET_MB)]


async def many_watchers() -> list[Result]:
    """1,000 watchers of all ConfigMaps of a namespace at 100 writes a second: from a write's sending to its receipt by the last of them."""
    async with cluster(runtime="hollow", datapath="userspace") as bench:
        for number in range(WATCHED):
            await bench.request("POST", CONFIG_MAPS, config_map(f"watched-{number}", mark="0"))
        url = f"{bench.server}{CONFIG_MAPS}?watch=true"
        command = [sys.executable, "-m", "bench.watchers", url, str(bench.data_dir / "pki/ca.crt"), bench.token, str(WATCHERS)]
        pipe = asyncio.subprocess.PIPE
        watchers = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=2**20)
        assert watchers.stdin is not None and watchers.stdout is not None
        await watchers.stdout.readline()
        before = cpu_seconds(bench.pid)
        sent = await _write_steadily(bench)
        watchers.stdin.write(b"%d\n" % len(sent))
        last = {int(mark): at for mark, at in json.loads(await watchers.stdout.readline()).items()}
        own = cpu_seconds(bench.pid) - before
        await watchers.wait()
    if len(last) < len(sent):
        raise RuntimeError(f"of {len(sent)} writes {len(last)} came to all watchers")
    delays = [1000 * (last[mark] - at) for mark, at in sent.items()]
    p99 = statistics.quantiles(delays, n=100)[98]
    each = 1e6 * own / (len(sent) * WATCHERS)
    median, longest = statistics.median(delays), max(delays)
    print(f"  median {median:.0f} ms, longest {longest:.0f} ms; {each:.1f} µs of the server's time an event and watcher", flush=True)
    target = f"p99 ≤ {WATCH_TARGET_MS:g} ms"
    return [Result("watch-1000", p99, "ms", "the limit", WATCH_TARGET_MS, target, p99 <= WATCH_TARGET_MS)]


async def _write_steadily(server: Server) -> dict[int, float]:
    """When each mark was sent, by the monotonic clock; writes do not wait for one another."""
    sent: dict[int, float] = {}

    async def write(mark: int) -> None:
        name = f"watched-{mark % WATCHED}"
        sent[mark] = time.monotonic()
        await server.request("PUT", f"{CONFIG_MAPS}/{name}", config_map(name, mark=str(mark)))

    started, writes = time.monotonic(), []
    for mark in range(1, int(WRITES_A_SECOND * WATCHED_SECONDS) + 1):
        await asyncio.sleep(max(0.0, started + mark / WRITES_A_SECOND - time.monotonic()))
        writes.append(asyncio.create_task(write(mark)))
    await asyncio.gather(*writes)
    return sent
