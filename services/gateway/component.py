"""The gateway component: informers → routing table → HAProxy, and back what objects are told of it.

While nothing is to be served there is no proxy, nothing is followed but Ingresses and their classes, and little is loaded. While the API
server is away the last known routes are served.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, ClassVar

import grpc.aio

from knarr.api.gateway.v1 import gateway_service_pb2 as messages
from knarr.api.gateway.v1 import gateway_service_pb2_grpc as stubs
from knarr.api.networking.v1 import networking_pb2 as networking
from knarr.client.client import Client
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.machinery.errors import AlreadyExists, StatusError
from knarr.service.component import Component
from knarr.service.tasks import run_together
from services.gateway.rest import CONTROLLER, Rest
from services.gateway.settings import GatewaySettings

if TYPE_CHECKING:
    from services.gateway.instance import Instance
    from services.gateway.servicer import GatewayServicer

log = logging.getLogger(__name__)

CLASS = "knarr"
DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"
RETRY_SECONDS = 1.0


class Gateway(Component):
    """One instance."""

    name: ClassVar[str] = "gateway"

    def __init__(self, client: Client, settings: GatewaySettings, clock: Clock = SYSTEM_CLOCK) -> None:
        self._client, self._settings, self._clock = client, settings, clock
        self.rest = Rest(client)
        self._instance: Instance | None = None
        self._idle = False

    @property
    def instance(self) -> Instance:
        """Made when it is first needed."""
        if self._instance is None:
            from services.gateway.instance import Instance

            self._instance = Instance(self._client, self._settings, self.rest, self._clock)
        return self._instance

    def register(self, server: grpc.aio.Server) -> list[str]:
        stubs.add_GatewayServiceServicer_to_server(_Deferred(self), server)
        return [messages.DESCRIPTOR.services_by_name["GatewayService"].full_name]

    @property
    def ready(self) -> bool:
        """Whether what was there at the start has been taken; that something cannot be served is told elsewhere."""
        return self._idle or (self._instance is not None and self._instance.follower.synced)

    async def run(self) -> None:
        await run_together(self.name, {"rest": self.rest.run(), "class": self._keep_class(), "serve": self._serve()})

    async def _serve(self) -> None:
        await self.rest.wait_synced()
        if not self._settings.gateway_api:
            self._idle = not self.rest.needed
            await self.rest.wait_needed()
            self._idle = False
        own = self.instance
        parts = {"follower": own.follower.run(), "reports": own.tell()}
        if own.publication is not None:
            parts["publication"] = own.publication.run()
        async with asyncio.TaskGroup() as group:
            # It ends after the others: what still comes while they take leave is answered.
            group.create_task(own.executor.run(), name=f"{self.name}/executor")
            await run_together(self.name, parts)

    async def _keep_class(self) -> None:
        """Makes the class that Ingresses get which name none, unless it is there in whatever form."""
        await self.rest.classes.wait_synced()
        while self.rest.classes.store.get("", CLASS) is None:
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


class _Deferred(stubs.GatewayServiceServicer):
    """Loads what answers with the first call."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def _answering(self) -> GatewayServicer:
        from services.gateway.servicer import GatewayServicer

        return GatewayServicer(self._gateway.instance)

    async def Explain(self, request: messages.ExplainRequest, context: Any) -> messages.ExplainResponse:
        return await self._answering().Explain(request, context)

    async def GetRoutes(self, request: messages.GetRoutesRequest, context: Any) -> messages.GetRoutesResponse:
        return await self._answering().GetRoutes(request, context)

    async def GetStatus(self, request: messages.GetStatusRequest, context: Any) -> messages.GetStatusResponse:
        return await self._answering().GetStatus(request, context)
