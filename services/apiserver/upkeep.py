"""Keeps what every cluster has: the namespaces of the system, the `kubernetes` Service and its endpoints."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.client.client import Client
from knarr.client.informer import Informer
from knarr.machinery.errors import StatusError
from services.apiserver.announcement import NAMESPACE, RENEW_SECONDS, SERVICE, Announcer
from services.apiserver.bootstrap import bootstrap

log = logging.getLogger(__name__)

WATCHED: tuple[type[Message], ...] = (core.Service, core.Endpoints, discovery.EndpointSlice)


class Upkeep:
    """Makes anew what is gone: as soon as the Service or its endpoints are deleted, everything else within ``RENEW_SECONDS``."""

    def __init__(self, client: Client, service_address: str, announcer: Announcer) -> None:
        self._client, self._service_address, self._announcer = client, service_address, announcer
        self._gone = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for message in WATCHED:
                informer = Informer(self._client, message, namespace=NAMESPACE, field_selector=f"metadata.name={SERVICE}")
                informer.on_change(self._see)
                tasks.create_task(informer.run(), name=f"apiserver/upkeep {message.DESCRIPTOR.name}")
            tasks.create_task(self._keep(), name="apiserver/upkeep")

    def _see(self, old: Message | None, new: Message | None) -> None:
        # Only what is gone is urgent: servers that do not agree about each other would else answer one another without end.
        if new is None:
            self._gone.set()

    async def _keep(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(RENEW_SECONDS):
                    await self._gone.wait()
            self._gone.clear()
            try:
                await bootstrap(self._client, self._service_address)
                await self._announcer.announce()
            except StatusError as error:
                log.warning("what every cluster has could not be kept, trying again: %s", error.status.message)
