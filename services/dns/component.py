"""The DNS component: informers → zone → answers over UDP and TCP, and the registration as an endpoint of kube-dns.

Before the zone is complete its names are answered SERVFAIL, and the instance is not registered. While the API server is away the last known
names are answered. A stop takes the endpoint away first and answers on for a while.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import ClassVar

import grpc.aio

from knarr.api.dns.v1 import dns_service_pb2 as messages
from knarr.api.dns.v1 import dns_service_pb2_grpc as stubs
from knarr.client.client import Client
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.service.component import Component
from knarr.service.errors import CommandError
from knarr.service.tasks import run_together
from services.dns import metrics
from services.dns.instance import Instance
from services.dns.server.tcp import TcpServer
from services.dns.server.udp import UdpServer
from services.dns.servicer import DnsServicer
from services.dns.settings import DnsSettings
from services.dns.upstream.resolv_conf import Server, choose, read

log = logging.getLogger(__name__)

PUBLISH_SECONDS = 1.0
REREAD_SECONDS = 5.0
BIND_ATTEMPTS = 10


class Dns(Component):
    """One instance of the cluster DNS."""

    name: ClassVar[str] = "dns"

    def __init__(self, client: Client, settings: DnsSettings, clock: Clock = SYSTEM_CLOCK) -> None:
        self.settings = settings
        self.instance = Instance(client, settings, clock)
        self._udp = UdpServer(self.instance.responder, self.instance.counters)
        self._tcp = TcpServer(self.instance.responder, self.instance.counters, settings)

    def register(self, server: grpc.aio.Server) -> list[str]:
        stubs.add_DnsServiceServicer_to_server(DnsServicer(self.instance), server)
        return [messages.DESCRIPTOR.services_by_name["DnsService"].full_name]

    @property
    def port(self) -> int:
        """Where DNS is served; 0 before it is bound."""
        return self.instance.port

    @property
    def ready(self) -> bool:
        return self.instance.ready

    async def run(self) -> None:
        own = self.instance
        try:
            await self._bind()
            await run_together(
                self.name,
                {
                    "services": own.follower.services.run(),
                    "slices": own.follower.slices.run(),
                    "namespaces": own.follower.namespaces.run(),
                    "zone": own.follower.run(),
                    "registration": self._register(),
                    "heartbeat": own.heartbeat.run(),
                    "upstreams": self._follow_upstreams(),
                    "loops": own.forwarder.run(),
                    "metrics": self._publish(),
                },
            )
        finally:
            await self._stop()

    async def _bind(self) -> None:
        """TCP and UDP on one port; where the system chooses it, one that is free for both. CommandError says why there is none."""
        for attempt in range(BIND_ATTEMPTS):
            try:
                port = await self._tcp.start(self.settings.address, self.settings.port)
            except OSError as error:
                raise self._cannot_serve(error) from error
            try:
                self.instance.port = self._udp.start(self.settings.address, port)
                log.info("serving DNS", extra={"address": self.settings.address, "port": self.port, "domain": self.instance.zone.domain})
                return
            except OSError as error:
                await self._tcp.close()
                if self.settings.port or attempt == BIND_ATTEMPTS - 1:
                    raise self._cannot_serve(error) from error

    def _cannot_serve(self, error: OSError) -> CommandError:
        where = f"{self.settings.address}:{self.settings.port}"
        return CommandError(f"dns: cannot serve DNS on {where}: {os.strerror(error.errno or 0)}; choose another address or port")

    async def _stop(self) -> None:
        if self.instance.registration.registered:
            await self.instance.registration.leave()
            # Proxies hear of it a little later; what they still lead here is answered.
            await asyncio.sleep(self.settings.drain_seconds)
        self.instance.port = 0
        await self._udp.close()
        await self._tcp.close()
        await self.instance.forwarder.close()

    async def _register(self) -> None:
        while not self.instance.responder.synced:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        if not self.settings.cluster_ip:
            await asyncio.Event().wait()
        await self.instance.registration.run(self.port)

    async def _follow_upstreams(self) -> None:
        """Reads resolv.conf again: machines change networks."""
        settings = self.settings
        own = [Server(settings.address, self.port)]
        before = None
        while True:
            chosen = choose(settings.upstreams or read(settings.resolv_conf), own, settings.cluster_ip)
            if chosen != before:
                log.info("upstreams", extra={"servers": [str(server) for server in chosen.servers], "left_out": list(chosen.left_out)})
                self.instance.forwarder.use(chosen)
                before = chosen
            await asyncio.sleep(REREAD_SECONDS)

    async def _publish(self) -> None:
        publisher = metrics.Publisher(self.instance.counters)
        while True:
            publisher.publish()
            await asyncio.sleep(PUBLISH_SECONDS)
