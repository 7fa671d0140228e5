"""Keeps the Service kube-dns and this instance's endpoint of it, and takes away those of instances that no longer live."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.client import membership
from knarr.client.client import Client
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.client.store import Store
from knarr.objects.labels import SERVICE_NAME, SLICE_MANAGED_BY
from services.dns.settings import DnsSettings

NAMESPACE, SERVICE = "kube-system", "kube-dns"
MANAGER = "dns.knarr.io"
COMPONENT = "dns"
PORTS = (("dns", "UDP"), ("dns-tcp", "TCP"))
SERVICE_PORT = 53


class Registration(membership.Registration):
    """One instance's. ``services`` and ``slices`` are local copies that others keep current."""

    def __init__(
        self,
        client: Client,
        settings: DnsSettings,
        services: Store[core.Service],
        slices: Store[discovery.EndpointSlice],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        own = membership.Membership(NAMESPACE, SERVICE, settings.name, COMPONENT, MANAGER, settings.renew_seconds, settings.lease_seconds)
        super().__init__(client, own, services, slices, clock)
        self._settings = settings
        self._port = settings.port

    @property
    def cluster_ip(self) -> str:
        """The address of the Service; empty while it is not there."""
        return str(self.service.spec.cluster_ip) if self.service is not None else ""

    async def run(self, port: int) -> None:
        """Keeps the instance registered until cancelled; ``port`` is where DNS is served. Needs synced stores."""
        self._port = port
        await self.keep()

    def mismatch(self) -> str:
        if self.cluster_ip in ("", self._settings.cluster_ip):
            return ""
        return f"Service {NAMESPACE}/{SERVICE} has address {self.cluster_ip}, not {self._settings.cluster_ip}: delete it, it is made anew"

    async def keep_service(self) -> None:
        if self.service is None:
            await self.make_service(self.wanted_service())

    def wanted_service(self) -> core.Service:
        """The Service without a selector whose endpoints the instances are."""
        service = core.Service()
        service.metadata.namespace, service.metadata.name = NAMESPACE, SERVICE
        service.metadata.labels.update({"k8s-app": SERVICE, "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "KnarrDNS"})
        service.spec.type = "ClusterIP"
        service.spec.cluster_ip = self._settings.cluster_ip
        for name, protocol in PORTS:
            service.spec.ports.add(name=name, protocol=protocol, port=SERVICE_PORT)
        return service

    def wanted_slices(self) -> list[discovery.EndpointSlice]:
        return [self.wanted_slice()]

    def wanted_slice(self) -> discovery.EndpointSlice:
        """The endpoint of this instance."""
        settings = self._settings
        piece = discovery.EndpointSlice(address_type="IPv4")
        piece.metadata.namespace, piece.metadata.name = NAMESPACE, self.name
        piece.metadata.labels.update({SERVICE_NAME: SERVICE, SLICE_MANAGED_BY: MANAGER})
        for label, protocol in PORTS:
            piece.ports.add(name=label, protocol=protocol, port=self._port)
        endpoint = piece.endpoints.add(addresses=[settings.advertise_address or settings.address])
        endpoint.conditions.ready = endpoint.conditions.serving = True
        endpoint.conditions.terminating = False
        if settings.node_name:
            endpoint.node_name = settings.node_name
        return piece
