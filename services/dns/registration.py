"""Keeps the Service kube-dns and this instance's endpoint of it, and takes away those of instances that no longer live.

Each instance has an EndpointSlice and a Lease of the same name. It renews its Lease; one that sees the Lease of another unchanged
for that Lease's time takes its EndpointSlice away. Time is counted only while our own renewals succeed: when the API server was
away, nobody could renew. Clocks of different machines are never compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.client.client import Client
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.client.store import Store
from knarr.machinery.errors import AlreadyExists, Conflict, NotFound, StatusError
from knarr.objects.copies import copy_of
from knarr.objects.labels import SERVICE_NAME, SLICE_MANAGED_BY
from services.dns.settings import DnsSettings

log = logging.getLogger(__name__)

NAMESPACE, SERVICE = "kube-system", "kube-dns"
MANAGER = "dns.knarr.io"
COMPONENT_LABEL = "knarr.io/component"
COMPONENT = "dns"
PORTS = (("dns", "UDP"), ("dns-tcp", "TCP"))
SERVICE_PORT = 53
LEAVE_SECONDS = 3.0
RETRY_SECONDS = 0.5


@dataclass(slots=True)
class _Sight:
    """A Lease as it was last seen to change, and when; seconds of the event loop's clock."""

    renewed: tuple[int, int]
    since: float


class Registration:
    """One instance's. ``services`` and ``slices`` are local copies that others keep current."""

    def __init__(
        self,
        client: Client,
        settings: DnsSettings,
        services: Store[core.Service],
        slices: Store[discovery.EndpointSlice],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._client = client
        self._settings = settings
        self._services = services
        self._slices = slices
        self._clock = clock
        self._port = settings.port
        self._lease: coordination.Lease | None = None
        self._sights: dict[str, _Sight] = {}
        # Whether this instance was registered at least once.
        self.registered = False
        # What stands in the way, in words.
        self.problem = ""

    @property
    def name(self) -> str:
        """The name of the EndpointSlice and the Lease."""
        return f"{SERVICE}-{self._settings.name}"

    @property
    def cluster_ip(self) -> str:
        """The address of the Service; empty while it is not there."""
        service = self._services.get(NAMESPACE, SERVICE)
        return str(service.spec.cluster_ip) if service is not None else ""

    def instances(self) -> Iterator[discovery.EndpointSlice]:
        """The EndpointSlices of all instances."""
        for piece in self._slices.list(NAMESPACE):
            labels = piece.metadata.labels
            if labels.get(SERVICE_NAME) == SERVICE and labels.get(SLICE_MANAGED_BY) == MANAGER:
                yield piece

    async def run(self, port: int) -> None:
        """Keeps the instance registered until cancelled; ``port`` is where DNS is served. Needs synced stores."""
        self._port = port
        while True:
            pause = self._settings.renew_seconds
            try:
                async with asyncio.timeout(self._settings.lease_seconds):
                    await self._step()
                self.registered = True
                self.problem = self._mismatch()
            except (StatusError, TimeoutError) as error:
                problem = f"this instance cannot be registered: {str(error) or 'the API server does not answer in time'}"
                if problem != self.problem:
                    log.warning("not registered", extra={"instance": self.name, "error": str(error)})
                self.problem = problem
                self._lease = None
                self._sights.clear()
                pause = min(pause, RETRY_SECONDS)
            await asyncio.sleep(pause)

    async def leave(self) -> None:
        """Takes our endpoint away; the others would after the Lease's time."""
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                await self._drop(self.name)
        except (StatusError, TimeoutError) as error:
            log.warning("the endpoint could not be taken away", extra={"instance": self.name, "error": str(error)})

    async def _step(self) -> None:
        await self._renew()
        await self._keep_service()
        await self._keep_slice()
        await self._drop_dead()

    async def _renew(self) -> None:
        now = self._clock.now()
        lease = self._lease or await self._found_lease()
        fresh = copy_of(lease) if lease is not None else coordination.Lease()
        fresh.metadata.namespace, fresh.metadata.name = NAMESPACE, self.name
        fresh.metadata.labels[COMPONENT_LABEL] = COMPONENT
        fresh.spec.holder_identity = self._settings.name
        fresh.spec.lease_duration_seconds = max(1, round(self._settings.lease_seconds))
        fresh.spec.renew_time.seconds, fresh.spec.renew_time.nanos = int(now.timestamp()), now.microsecond * 1000
        try:
            self._lease = await (self._client.update(fresh) if lease is not None else self._client.create(fresh))
        except (AlreadyExists, Conflict, NotFound):
            # Somebody else wrote it; the next step reads it anew.
            self._lease = None

    async def _found_lease(self) -> coordination.Lease | None:
        try:
            return await self._client.get(coordination.Lease, self.name, NAMESPACE)
        except NotFound:
            return None

    async def _keep_service(self) -> None:
        if self._services.get(NAMESPACE, SERVICE) is not None:
            return
        # Another instance may be quicker, and the local copy not have heard of it yet.
        with contextlib.suppress(AlreadyExists):
            await self._client.create(wanted_service(self._settings.cluster_ip))

    def _mismatch(self) -> str:
        if self.cluster_ip in ("", self._settings.cluster_ip):
            return ""
        return f"Service {NAMESPACE}/{SERVICE} has address {self.cluster_ip}, not {self._settings.cluster_ip}: delete it, it is made anew"

    async def _keep_slice(self) -> None:
        wanted = wanted_slice(self.name, self._settings, self._port)
        found = self._slices.get(NAMESPACE, self.name)
        # The local copy may be behind; then the next step sees.
        with contextlib.suppress(AlreadyExists, Conflict, NotFound):
            if found is None:
                await self._client.create(wanted)
            elif not _same(found, wanted):
                wanted.metadata.resource_version = found.metadata.resource_version
                await self._client.update(wanted)

    async def _drop_dead(self) -> None:
        leases = await self._client.list(coordination.Lease, NAMESPACE, label_selector=f"{COMPONENT_LABEL}={COMPONENT}")
        by_name = {lease.metadata.name: lease for lease in leases.items}
        now = asyncio.get_running_loop().time()
        names = {piece.metadata.name for piece in self.instances()} | set(by_name)
        self._sights = {name: sight for name, sight in self._sights.items() if name in names}
        for name in names - {self.name}:
            lease = by_name.get(name)
            renewed = (lease.spec.renew_time.seconds, lease.spec.renew_time.nanos) if lease is not None else (0, 0)
            sight = self._sights.get(name)
            if sight is None or sight.renewed != renewed:
                self._sights[name] = _Sight(renewed, now)
                continue
            duration = lease.spec.lease_duration_seconds if lease is not None else self._settings.lease_seconds
            if now - sight.since > duration:
                log.warning("another instance no longer lives; its endpoint is taken away", extra={"instance": name})
                await self._drop(name)
                del self._sights[name]

    async def _drop(self, name: str) -> None:
        for kind in (discovery.EndpointSlice, coordination.Lease):
            with contextlib.suppress(NotFound):
                await self._client.delete(kind, name, NAMESPACE)


def wanted_service(cluster_ip: str) -> core.Service:
    """The Service without a selector whose endpoints the instances are."""
    service = core.Service()
    service.metadata.namespace, service.metadata.name = NAMESPACE, SERVICE
    service.metadata.labels.update({"k8s-app": SERVICE, "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "KnarrDNS"})
    service.spec.type = "ClusterIP"
    service.spec.cluster_ip = cluster_ip
    for name, protocol in PORTS:
        service.spec.ports.add(name=name, protocol=protocol, port=SERVICE_PORT)
    return service


def wanted_slice(name: str, settings: DnsSettings, port: int) -> discovery.EndpointSlice:
    """The endpoint of one instance."""
    piece = discovery.EndpointSlice(address_type="IPv4")
    piece.metadata.namespace, piece.metadata.name = NAMESPACE, name
    piece.metadata.labels.update({SERVICE_NAME: SERVICE, SLICE_MANAGED_BY: MANAGER})
    for label, protocol in PORTS:
        piece.ports.add(name=label, protocol=protocol, port=port)
    endpoint = piece.endpoints.add(addresses=[settings.advertise_address or settings.address])
    endpoint.conditions.ready = endpoint.conditions.serving = True
    endpoint.conditions.terminating = False
    if settings.node_name:
        endpoint.node_name = settings.node_name
    return piece


def _same(found: discovery.EndpointSlice, wanted: discovery.EndpointSlice) -> bool:
    labels = all(found.metadata.labels.get(key) == value for key, value in wanted.metadata.labels.items())
    return labels and found.endpoints == wanted.endpoints and found.ports == wanted.ports
