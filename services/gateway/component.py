"""The gateway component: informers → routing table → HAProxy, and back what objects are told of it.

While nothing is to be served there is no proxy, and nothing is followed but Ingresses and their classes. While the API server
is away the last
known routes are served.
"""

from __future__ import annotations

import asyncio
import logging
from typing import ClassVar

import grpc.aio

from knarr.api.gateway.v1 import gateway_service_pb2 as messages
from knarr.api.gateway.v1 import gateway_service_pb2_grpc as stubs
from knarr.api.networking.v1 import networking_pb2 as networking
from knarr.client.client import Client
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.machinery.errors import AlreadyExists, StatusError
from knarr.service.component import Component
from knarr.service.tasks import run_together
from services.gateway.follower import CONTROLLER
from services.gateway.instance import Instance
from services.gateway.servicer import GatewayServicer
from services.gateway.settings import GatewaySettings

log = logging.getLogger(__name__)

CLASS = "knarr"
DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"
RETRY_SECONDS = 1.0


class Gateway(Component):
    """One instance."""

    name: ClassVar[str] = "gateway"

    def __init__(self, client: Client, settings: GatewaySettings, clock: Clock = SYSTEM_CLOCK) -> None:
        self._client = client
        self.instance = Instance(client, settings, clock)

    def register(self, server: grpc.aio.Server) -> list[str]:
        stubs.add_GatewayServiceServicer_to_server(GatewayServicer(self.instance), server)
        return [messages.DESCRIPTOR.services_by_name["GatewayService"].full_name]

    @property
    def ready(self) -> bool:
        """Whether what was there at the start has been taken; that something cannot be served is told elsewhere."""
        return self.instance.follower.synced

    async def run(self) -> None:
        own = self.instance
        await run_together(
            self.name,
            {
                "follower": own.follower.run(),
                "executor": own.executor.run(),
                "reporter": own.reporter.run(),
                "gateway-reporter": own.gateway_reporter.run(),
                "events": own.recorder.run(),
                "class": self._keep_class(),
            },
        )

    async def _keep_class(self) -> None:
        """Makes the class that Ingresses get which name none, unless it is there in whatever form."""
        classes = self.instance.follower.classes
        await classes.wait_synced()
        while classes.store.get("", CLASS) is None:
            made = networking.IngressClass()
            made.metadata.name = CLASS
            made.metadata.annotations[DEFAULT_CLASS] = "true"
            made.spec.controller = CONTROLLER
            try:
                await self._client.create(made)
                break
            except AlreadyExists:
                break
            except StatusError as error:
                log.warning("the class of Ingresses could not be made", extra={"class": CLASS, "error": str(error)})
                await asyncio.sleep(RETRY_SECONDS)
        await asyncio.Event().wait()
