"""One of several processes of which one leads: whoever does writes as fast as it can, and says who it is.

``python -m tests.history.candidate ADDRESS FOLDER IDENTITY``, until its standard input ends. ``FOLDER`` has the API server's certificate.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import ClassVar

import grpc.aio

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.client.clock import SYSTEM_CLOCK
from knarr.client.leader import Election, LeaseSettings
from knarr.client.rpc import connect
from knarr.machinery.errors import NotFound, StatusError
from knarr.service.elected import ElectedComponent
from tests.support.faces import TOKEN

LEASE, NAMESPACE, NAME = "history", "kube-public", "led"
LEASE_NAMESPACE = "kube-system"
# Between the leader's last write and another one's first lie more seconds than a write can be held up on its way.
SETTINGS = LeaseSettings(duration_seconds=5.0, renew_deadline_seconds=2.0, retry_seconds=0.4, stop_seconds=1.0)
# Several at once, as a controller has workers: one that was stopped has something under way when it goes on.
WRITERS, PAUSE_SECONDS = 3, 0.03


class Candidate(ElectedComponent):
    name: ClassVar[str] = "candidate"

    def __init__(self, client: Client, identity: str) -> None:
        super().__init__(client, LEASE, Election(identity, held=True, lease=SETTINGS), SYSTEM_CLOCK)
        self._identity, self._written = identity, 0

    def register(self, server: grpc.aio.Server) -> list[str]:
        return []

    @property
    def working(self) -> bool:
        return True

    async def _lead(self) -> None:
        await asyncio.gather(*(self._work() for _ in range(WRITERS)))

    async def _work(self) -> None:
        """Nothing but the lease keeps the writes of two leaders apart: they have no guard."""
        while True:
            with contextlib.suppress(StatusError):
                await self._write()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _write(self) -> None:
        self._written += 1
        data = {"leader": self._identity, "n": str(self._written)}
        try:
            await self._client.patch(core.ConfigMap, NAME, NAMESPACE, patch={"data": data})
        except NotFound:
            made = core.ConfigMap(data=data)
            made.metadata.name, made.metadata.namespace = NAME, NAMESPACE
            await self._client.create(made)


async def main(address: str, folder: str, identity: str) -> None:
    async with connect(address, Path(folder) / "ca.crt", TOKEN) as client:
        work = asyncio.create_task(Candidate(client, identity).run())
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
        work.cancel()
        await asyncio.wait({work})


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
