"""Keeps what every cluster has: the namespaces of the system, priorities of requests, the `kubernetes` Service, its endpoints and
the range of addresses, what extension API servers read to know whom to believe, and when tokens of Secrets were used."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime

from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.client.client import Client
from knarr.client.informer import Informer
from knarr.machinery.errors import AlreadyExists, Conflict, NotFound, StatusError
from knarr.objects.copies import copy_of
from services.apiserver.aggregation.front_proxy import NAME, FrontProxy
from services.apiserver.aggregation.front_proxy import NAMESPACE as IN_NAMESPACE
from services.apiserver.allocators.addresses import AddressRange
from services.apiserver.announcement import NAMESPACE, RENEW_SECONDS, SERVICE, Announcer
from services.apiserver.bootstrap import bootstrap
from services.apiserver.fairness.upkeep import keep_fairness
from services.apiserver.service_range import keep_service_range
from services.apiserver.tokens.uses import Uses

log = logging.getLogger(__name__)

WATCHED: tuple[type[Message], ...] = (core.Service, core.Endpoints, discovery.EndpointSlice)


class Upkeep:
    """Makes anew what is gone: as soon as the Service or its endpoints are deleted, everything else within ``RENEW_SECONDS``."""

    def __init__(
        self,
        client: Client,
        addresses: AddressRange,
        announcer: Announcer,
        clock: Callable[[], datetime],
        front_proxy: FrontProxy | None = None,
        uses: Uses | None = None,
    ) -> None:
        self._client, self._addresses, self._announcer, self._clock = client, addresses, announcer, clock
        self._front_proxy, self._uses = front_proxy, uses
        self._gone = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for message in WATCHED:
                informer = Informer(self._client, message, namespace=NAMESPACE, field_selector=f"metadata.name={SERVICE}")
                informer.on_change(self._see)
                tasks.create_task(informer.run(), name=f"apiserver/upkeep {message.DESCRIPTOR.name}")
            tasks.create_task(self._keep(), name="apiserver/upkeep")
            if self._uses is not None:
                tasks.create_task(self._uses.run(self._client), name="apiserver/upkeep uses of tokens")

    def _see(self, old: Message | None, new: Message | None) -> None:
        # Only what is gone is urgent: servers that do not agree about each other would else answer one another without end.
        if new is None:
            self._gone.set()

    async def _publish(self) -> None:
        """Writes the ConfigMap where it is another; what others keep in it besides stays. Raises StatusError, OSError."""
        if self._front_proxy is None:
            return
        wanted = self._front_proxy.published()
        try:
            stored = await self._client.get(core.ConfigMap, NAME, IN_NAMESPACE)
        except NotFound:
            with suppress(AlreadyExists):  # another API server was faster
                await self._client.create(wanted)
            return
        if any(stored.data.get(key) != value for key, value in wanted.data.items()):
            changed = copy_of(stored)
            changed.data.update(wanted.data)
            with suppress(Conflict, NotFound):
                await self._client.update(changed)

    async def _track(self) -> None:
        if self._uses is not None:
            await self._uses.say_since(self._client)

    async def _keep(self) -> None:
        await self._try(self._publish)
        await self._try(self._track)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(RENEW_SECONDS):
                    await self._gone.wait()
            self._gone.clear()
            await self._try(self._keep_once)

    async def _keep_once(self) -> None:
        await bootstrap(self._client, self._addresses.first_address)
        await keep_service_range(self._client, str(self._addresses), self._clock)
        await keep_fairness(self._client)
        await self._announcer.announce()
        await self._publish()
        await self._track()

    async def _try(self, keep: Callable[[], Awaitable[None]]) -> None:
        try:
            await keep()
        except StatusError as error:
            log.warning("what every cluster has could not be kept, trying again: %s", error.status.message)
        except OSError as error:
            log.warning("certificates cannot be read, trying again: %s", error)
