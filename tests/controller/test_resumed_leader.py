"""A controller manager that is stopped and continued, as a process: meanwhile another one leads, and it writes nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.client.informer import Informer
from services.controller.component import LEASE
from tests.controller.objects import replica_set
from tests.support.api import FaultyApi
from tests.support.faces import rpc_server

ROOT = Path(__file__).parents[2]
LEASE_SECONDS, DEADLINE_SECONDS, RETRY_SECONDS = 1.0, 0.6, 0.2


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def manager(address: str, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process of the controller manager with short times; its log is its standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RUN, address, str(folder), *map(str, (LEASE_SECONDS, DEADLINE_SECONDS, RETRY_SECONDS))),
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


RUN = """
import asyncio, logging, sys
from pathlib import Path
from knarr.client.leader import Election, LeaseSettings
from knarr.client.rpc import connect
from services.controller.component import ControllerManager
from services.controller.settings import ControllerSettings
from tests.support.faces import TOKEN

async def main(address, folder, duration, deadline, retry):
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    lease = LeaseSettings(float(duration), float(deadline), float(retry))
    async with connect(address, Path(folder) / "ca.crt", TOKEN) as client:
        await ControllerManager(client, ControllerSettings(election=Election("first", held=True, lease=lease), cluster_cidr="")).run()

asyncio.run(main(*sys.argv[1:]))
"""


async def until_there_are(count: int, api: FaultyApi, client: Client) -> None:
    informer = Informer(client, core.Pod)
    changed = asyncio.Event()
    informer.on_change(lambda old, new: changed.set())
    async with asyncio.timeout(30), running(informer.run()):
        while len(pods(api)) < count:
            await changed.wait()
            changed.clear()


def pods(api: FaultyApi) -> list[str]:
    return sorted(pod.metadata.name for pod in api.all(core.Pod) if not pod.metadata.HasField("deletion_timestamp"))


async def take_the_lease(client: Client) -> None:
    """As a second manager does once the first one's time is over, whose process still waits to be continued."""
    lease = await client.get(coordination.Lease, LEASE, "kube-system")
    lease.spec.holder_identity = "second"
    lease.spec.lease_duration_seconds = 60
    await client.update(lease)


async def test_a_manager_that_was_stopped_in_the_middle_of_its_work_does_not_go_on_with_it(tmp_path: Path) -> None:
    api = FaultyApi()
    client = api.client()
    await client.create(replica_set("web", 200))
    async with rpc_server(api, tmp_path) as address, manager(address, tmp_path) as process:
        assert process.stderr is not None
        await until_there_are(20, api, client)
        os.kill(process.pid, signal.SIGSTOP)
        # What it has asked for is done by then.
        await asyncio.sleep(LEASE_SECONDS)
        await take_the_lease(client)
        there = pods(api)
        assert 20 <= len(there) < 200
        # It wakes to pods that are gone, and to many that are still to be made; all of it is the new leader's business.
        for name in there[:10]:
            await client.delete(core.Pod, name, "default", grace_period_seconds=0)
        os.kill(process.pid, signal.SIGCONT)
        async with asyncio.timeout(30):
            while b"lost the lease" not in await process.stderr.readline():
                pass
        assert pods(api) == there[10:]
