"""Whether the API server answers: informers alone do not tell, since a silent watch looks like a quiet cluster."""

from __future__ import annotations

import asyncio
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.client.clock import Clock
from knarr.machinery.errors import Forbidden, NotFound, StatusError
from services.dns import metrics
from services.dns.registration import NAMESPACE

HEARTBEAT_SECONDS = 2.0


class Heartbeat:
    """``reachable``: whether the API server answered the last time it was asked; ``last_heard``: when it did so last."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self.reachable = False
        self.last_heard: datetime | None = None

    async def run(self) -> None:
        """Asks the API server again and again, until cancelled."""
        while True:
            self.reachable = await self._answers()
            if self.reachable:
                self.last_heard = self._clock.now()
            metrics.API_REACHABLE.set(self.reachable)
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(HEARTBEAT_SECONDS):
                await self._client.get(core.Namespace, NAMESPACE)
        except (NotFound, Forbidden):
            return True
        except (StatusError, TimeoutError):
            return False
        return True
