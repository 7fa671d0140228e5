"""The DNS component: informers → zone → answers over UDP and TCP, and the registration as an endpoint of kube-dns.

Before the zone is complete its names are answered SERVFAIL, and the instance is not registered. While the API server is away the last known
names are answered. A stop takes the endpoint away first and answers on for a while.
"""

from __future__ import annotations

import asyncio
import logging
import os
from datetime import datetime
from typing import ClassVar

import grpc.aio

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.dns.v1 import dns_service_pb2 as messages
from knarr.api.dns.v1 import dns_service_pb2_grpc as stubs
from knarr.client.client import Client
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.machinery.errors import StatusError
from knarr.service.command import CommandError
from knarr.service.component import Component
from knarr.service.tasks import run_together
from services.dns import metrics
from services.dns.counters import Counters
from services.dns.follower import Follower
from services.dns.query.responder import Responder
from services.dns.registration import NAMESPACE, Registration
from services.dns.server.tcp import TcpServer
from services.dns.server.udp import UdpServer
from services.dns.servicer import DnsServicer
from services.dns.settings import DnsSettings
from services.dns.upstream.forwarder import Forwarder
from services.dns.upstream.resolv_conf import Server, choose, read
from services.dns.zone.zone import Zone

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 2.0
PUBLISH_SECONDS = 1.0
REREAD_SECONDS = 5.0
BIND_ATTEMPTS = 10


class Dns(Component):
    """One instance of the cluster DNS."""

    name: ClassVar[str] = "dns"

    def __init__(self, client: Client, settings: DnsSettings, clock: Clock = SYSTEM_CLOCK) -> None:
        self._client = client
        self._settings = settings
        self._clock = clock
        self.counters = Counters()
        self.forwarder = Forwarder(settings)
        ranges = (settings.service_cidr, settings.pod_cidr)
        self.zone = Zone(settings.domain, settings.ttl_seconds, ranges, pod_names=settings.pod_names)
        self.responder = Responder(self.zone, self.forwarder.resolve, self.counters, settings.udp_payload_bytes)
        self._follower = Follower(client, self.zone, self.responder)
        self.registration = Registration(client, settings, self._follower.services.store, self._follower.slices.store, clock)
        self._udp = UdpServer(self.responder, self.counters)
        self._tcp = TcpServer(self.responder, self.counters, settings)
        # Where DNS is served; 0 before it is bound.
        self.port = 0
        # Whether the API server answered the last time it was asked, and when it did so last.
        self.api_reachable = False
        self.last_heard: datetime | None = None

    def register(self, server: grpc.aio.Server) -> list[str]:
        stubs.add_DnsServiceServicer_to_server(DnsServicer(self), server)
        return [messages.DESCRIPTOR.services_by_name["DnsService"].full_name]

    @property
    def settings(self) -> DnsSettings:
        return self._settings

    @property
    def ready(self) -> bool:
        return self.responder.synced and self.port != 0 and (self.registration.registered or not self._settings.cluster_ip)

    def problems(self) -> list[str]:
        """What stands in the way of serving all names as they are, in words."""
        found = [self.registration.problem] if self.registration.problem else []
        if not self.responder.synced:
            found.append("the names of the cluster are not complete yet: they are answered SERVFAIL")
        elif not self.api_reachable:
            found.append("the API server cannot be reached: the last known names are answered")
        if not self.forwarder.upstreams:
            found.append("there is no upstream server: names that are not the cluster's are answered SERVFAIL")
        return found

    def notes(self, name: str) -> list[str]:
        """What a person should know of a name of the cluster, in words."""
        return self._follower.notes(name)

    async def run(self) -> None:
        try:
            await self._bind()
            await run_together(
                self.name,
                {
                    "services": self._follower.services.run(),
                    "slices": self._follower.slices.run(),
                    "namespaces": self._follower.namespaces.run(),
                    "zone": self._follower.run(),
                    "registration": self._register(),
                    "heartbeat": self._heartbeat(),
                    "upstreams": self._follow_upstreams(),
                    "loops": self.forwarder.run(),
                    "metrics": self._publish(),
                },
            )
        finally:
            await self._stop()

    async def _bind(self) -> None:
        """TCP and UDP on one port; where the system chooses it, one that is free for both. CommandError says why there is none."""
        for attempt in range(BIND_ATTEMPTS):
            try:
                port = await self._tcp.start(self._settings.address, self._settings.port)
            except OSError as error:
                raise self._cannot_serve(error) from error
            try:
                self.port = self._udp.start(self._settings.address, port)
                log.info("serving DNS", extra={"address": self._settings.address, "port": self.port, "domain": self.zone.domain})
                return
            except OSError as error:
                await self._tcp.close()
                if self._settings.port or attempt == BIND_ATTEMPTS - 1:
                    raise self._cannot_serve(error) from error

    def _cannot_serve(self, error: OSError) -> CommandError:
        where = f"{self._settings.address}:{self._settings.port}"
        return CommandError(f"dns: cannot serve DNS on {where}: {os.strerror(error.errno or 0)}; choose another address or port")

    async def _stop(self) -> None:
        if self.registration.registered:
            await self.registration.leave()
            # Proxies hear of it a little later; what they still lead here is answered.
            await asyncio.sleep(self._settings.drain_seconds)
        self.port = 0
        await self._udp.close()
        await self._tcp.close()
        await self.forwarder.close()

    async def _register(self) -> None:
        while not self.responder.synced:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        if not self._settings.cluster_ip:
            await asyncio.Event().wait()
        await self.registration.run(self.port)

    async def _heartbeat(self) -> None:
        """Knows whether the API server can be reached: informers alone do not tell."""
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await self._client.get(core.Namespace, NAMESPACE)
                self.api_reachable = True
            except StatusError as error:
                self.api_reachable = error.reason in ("NotFound", "Forbidden")
            except TimeoutError:
                self.api_reachable = False
            if self.api_reachable:
                self.last_heard = self._clock.now()
            metrics.API_REACHABLE.set(self.api_reachable)
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _follow_upstreams(self) -> None:
        """Reads resolv.conf again: machines change networks."""
        settings = self._settings
        own = [Server(settings.address, self.port)]
        before = None
        while True:
            chosen = choose(settings.upstreams or read(settings.resolv_conf), own, settings.cluster_ip)
            if chosen != before:
                log.info("upstreams", extra={"servers": [str(server) for server in chosen.servers], "left_out": list(chosen.left_out)})
                self.forwarder.use(chosen)
                before = chosen
            await asyncio.sleep(REREAD_SECONDS)

    async def _publish(self) -> None:
        publisher = metrics.Publisher(self.counters)
        while True:
            publisher.publish()
            await asyncio.sleep(PUBLISH_SECONDS)
