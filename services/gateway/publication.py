"""The Service by whose address several instances of the gateway are reached: kept here, with this instance as an endpoint of it.

Its load balancer's address is what the status of all that is served tells. It is made with the first port that is served, and stays.
Its ports are those that the instance which leads listens on; each instance says of itself what it has open. Traffic stays on the node that
it enters by, so that a client's address is seen: where that node has no gateway any more, the load balancer goes to one that has.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection
from dataclasses import dataclass

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.client import membership
from knarr.client.client import Client
from knarr.client.clock import Clock
from knarr.client.informer import Informer
from knarr.machinery.errors import Conflict, NotFound
from knarr.objects.copies import copy_of
from knarr.objects.labels import SERVICE_NAME, SLICE_MANAGED_BY
from services.gateway.settings import Published

MANAGER = "gateway.knarr.io"
COMPONENT = "gateway"
# The settings of a load balancer's own: it opens no ports of nodes besides.
LOAD_BALANCER, LOCAL = "LoadBalancer", "Local"


@dataclass(frozen=True, slots=True)
class Ports:
    """What an instance is to serve, each port with the one that it opens for it; those of them that it could not open; and whether what is
    known is in force, before which nobody is to ask."""

    wanted: tuple[tuple[int, int], ...] = ()
    closed: frozenset[int] = frozenset()
    ready: bool = True

    @property
    def open(self) -> list[tuple[int, int]]:
        return [(port, number) for port, number in self.wanted if port not in self.closed]


class Publication:
    """``run`` it. ``changed`` is told that the addresses are others."""

    def __init__(
        self,
        client: Client,
        published: Published,
        ports: Callable[[], Ports],
        leads: Callable[[], bool],
        changed: Callable[[], None],
        clock: Clock,
    ) -> None:
        self.services = Informer(client, core.Service, namespace=published.namespace, field_selector=f"metadata.name={published.service}")
        self.slices = Informer(
            client, discovery.EndpointSlice, namespace=published.namespace, label_selector=f"{SERVICE_NAME}={published.service}"
        )
        self._changed, self._ports, self._drain_seconds = changed, ports, published.drain_seconds
        self._looked, self._seen = asyncio.Event(), Ports()
        self.services.on_change(self._service_changed)
        self.registration = Registration(client, published, self.services, self.slices, ports, leads, clock)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Addresses or names of the load balancer; none before it has any."""
        service = self.registration.service
        return addresses_of(service) if service is not None else ()

    @property
    def problem(self) -> str:
        """Why the Service does not lead here, in words; empty: it does."""
        return self.registration.problem

    def look(self) -> None:
        """Ports may be others; that they are not costs nothing."""
        before, self._seen = self._seen, self._ports()
        if self._seen != before:
            self._looked.set()
            self.registration.look()

    @property
    def needed(self) -> bool:
        """Whether anything is served."""
        return bool(self._ports().wanted)

    async def run(self) -> None:
        """Until cancelled. An endpoint while something is served."""
        async with asyncio.TaskGroup() as group:
            for informer in (self.services, self.slices):
                group.create_task(informer.run(), name=f"gateway/publication {informer.kind}")
                await informer.wait_synced()
            while True:
                while not self.needed:
                    self._looked.clear()
                    await self._looked.wait()
                try:
                    await self.registration.keep(lambda: self.needed)
                except asyncio.CancelledError:
                    await self.registration.leave()
                    # Proxies hear of it a little later; what they still lead here is answered.
                    await asyncio.sleep(self._drain_seconds)
                    raise
                await self.registration.leave()

    def _service_changed(self, old: core.Service | None, new: core.Service | None) -> None:
        before, after = (addresses_of(each) if each is not None else () for each in (old, new))
        if before != after:
            self._changed()
        self.registration.look()


class Registration(membership.Registration):
    """This instance as an endpoint."""

    def __init__(
        self,
        client: Client,
        published: Published,
        services: Informer[core.Service],
        slices: Informer[discovery.EndpointSlice],
        ports: Callable[[], Ports],
        leads: Callable[[], bool],
        clock: Clock,
    ) -> None:
        own = membership.Membership(
            published.namespace, published.service, published.instance, COMPONENT, MANAGER,
            published.renew_seconds, published.lease_seconds,
        )  # fmt: skip
        super().__init__(client, own, services.store, slices.store, clock)
        self._published, self._ports, self._leads = published, ports, leads

    def mismatch(self) -> str:
        if self.service is None or not self.service.spec.selector:
            return ""
        named = f"Service {self._membership.namespace}/{self._membership.service}"
        return f"{named} has a selector, so that it leads to pods too: give it none, or the gateway another one by --publish-service"

    async def keep_service(self) -> None:
        """Of one that is there only the ports are changed, by the instance that leads: whoever wants the rest otherwise may set it."""
        wanted, found = self._ports().wanted, self.service
        if not wanted:
            return
        if found is None:
            await super().keep_service()
        elif self._leads() and {port.port for port in found.spec.ports} != {port for port, _ in wanted}:
            fresh = copy_of(found)
            _put_ports(fresh, wanted)
            # The local copy may be behind; then the next step sees.
            with contextlib.suppress(Conflict, NotFound):
                await self._client.update(fresh)

    def wanted_service(self) -> core.Service:
        service = core.Service()
        service.metadata.namespace, service.metadata.name = self._membership.namespace, self._membership.service
        service.metadata.labels[membership.COMPONENT_LABEL] = COMPONENT
        service.spec.type, service.spec.external_traffic_policy = LOAD_BALANCER, LOCAL
        service.spec.allocate_load_balancer_node_ports = False
        _put_ports(service, self._ports().wanted)
        return service

    def wanted_slice(self) -> discovery.EndpointSlice | None:
        own, ports = self._published, self._ports()
        if not ports.open:
            return None
        piece = discovery.EndpointSlice(address_type="IPv4")
        piece.metadata.namespace, piece.metadata.name = own.namespace, self.name
        piece.metadata.labels.update({SERVICE_NAME: own.service, SLICE_MANAGED_BY: MANAGER})
        for port, number in ports.open:
            piece.ports.add(name=self._name(port), protocol="TCP", port=number)
        endpoint = piece.endpoints.add(addresses=[own.address])
        endpoint.conditions.ready = endpoint.conditions.serving = ports.ready and not self._others_have(ports.closed)
        endpoint.conditions.terminating = False
        if own.node_name:
            endpoint.node_name = own.node_name
        return piece

    def _others_have(self, closed: Collection[int]) -> bool:
        """Whether another instance has opened what this one could not: then that one is to be asked."""
        missing = {self._name(port) for port in closed}
        return any(
            missing & {port.name for port in piece.ports} and any(endpoint.conditions.ready for endpoint in piece.endpoints)
            for piece in self.instances()
            if piece.metadata.name != self.name
        )

    def _name(self, port: int) -> str:
        """What the Service calls a port."""
        found = self.service.spec.ports if self.service is not None else ()
        return next((str(each.name) for each in found if each.port == port), port_name(port))


def port_name(port: int) -> str:
    return f"port-{port}"


def addresses_of(service: core.Service) -> tuple[str, ...]:
    return tuple(entry.ip or entry.hostname for entry in service.status.load_balancer.ingress if entry.ip or entry.hostname)


def _put_ports(service: core.Service, wanted: Collection[tuple[int, int]]) -> None:
    """Ports that stay are left as they are."""
    kept = {port.port: copy_of(port) for port in service.spec.ports}
    del service.spec.ports[:]
    for port, number in wanted:
        if port in kept:
            service.spec.ports.append(kept[port])
        else:
            service.spec.ports.add(name=port_name(port), protocol="TCP", port=port).target_port.int_val = number
