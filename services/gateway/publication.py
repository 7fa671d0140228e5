"""The Services by whose addresses several instances of the gateway are reached: kept here, with this instance as an endpoint of each.

One is shared by all Ingresses, and each Gateway has one of its own where Gateways have addresses of their own. The addresses of their load
balancers are what the statuses of all that is served tell. The shared one is made with the first port that is served, and stays; that of a
Gateway goes with it. Their ports are those that the instance which leads listens on; each instance says of itself what it has open. Traffic
stays on the node that it enters by, so that a client's address is seen: where that node has no gateway any more, the load balancer goes to
one that has.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.client import membership
from knarr.client.client import Client
from knarr.client.clock import Clock
from knarr.client.informer import Informer
from knarr.machinery.errors import BadRequest, Conflict, Forbidden, Invalid, NotFound, StatusError
from knarr.objects.labels import SERVICE_NAME, SLICE_MANAGED_BY
from services.gateway.entrances import (
    COMPONENT,
    Entrance,
    Entrances,
    addresses_of,
    changed_service,
    made_service,
    named,
    own_name,
    owner_of,
)
from services.gateway.routing.table import Origin
from services.gateway.settings import Published

MANAGER = "gateway.knarr.io"


class Publication:
    """``run`` it. ``gone`` says of a Gateway that it is no more, or another controller's; ``changed`` is told that addresses are others."""

    def __init__(
        self,
        client: Client,
        published: Published,
        entrances: Callable[[], Entrances],
        leads: Callable[[], bool],
        gone: Callable[[Origin], bool],
        changed: Callable[[], None],
        clock: Clock,
    ) -> None:
        self.services = Informer(client, core.Service, namespace=published.namespace)
        self.slices = Informer(
            client, discovery.EndpointSlice, namespace=published.namespace, label_selector=f"{SLICE_MANAGED_BY}={MANAGER}"
        )
        self._changed, self._entrances, self._published = changed, entrances, published
        self._looked, self._seen = asyncio.Event(), Entrances()
        self.services.on_change(self._service_changed)
        self.registration = Registration(client, published, self.services, self.slices, entrances, leads, gone, changed, clock)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Addresses or names of the shared load balancer; none before it has any."""
        return addresses_of(self.registration.service)

    def addresses_of(self, gateway: Origin) -> tuple[str, ...]:
        """Those of a Gateway's own."""
        return addresses_of(self.services.store.get(self._published.namespace, own_name(self._published.service, gateway)))

    @property
    def problem(self) -> str:
        """Why the Services do not lead here, in words; empty: they do."""
        return self.registration.problem

    def problem_of(self, gateway: Origin) -> str:
        """Why a Gateway has no Service of its own, in words; empty: it has, or will."""
        return self.registration.refused.get(own_name(self._published.service, gateway), "")

    def look(self) -> None:
        """Entrances may be others; that they are not costs nothing."""
        before, self._seen = self._seen, self._entrances()
        if self._seen != before:
            self._looked.set()
            self.registration.look()

    @property
    def needed(self) -> bool:
        """Whether anything is served."""
        return bool(self._entrances().served)

    async def run(self) -> None:
        """Until cancelled. An endpoint while something is served."""
        async with asyncio.TaskGroup() as group:
            for informer in (self.services, self.slices):
                group.create_task(informer.run(), name=f"gateway/publication {informer.kind}")
                await informer.wait_synced()
            while True:
                await self._wait_needed()
                try:
                    await self.registration.keep(lambda: self.needed)
                except asyncio.CancelledError:
                    await self.registration.leave()
                    # Proxies hear of it a little later; what they still lead here is answered.
                    await asyncio.sleep(self._published.drain_seconds)
                    raise
                await self.registration.leave()

    async def _wait_needed(self) -> None:
        """Meanwhile Services go with their Gateways, also those that nobody led to take away when these went."""
        while True:
            self._looked.clear()
            if self.needed:
                return
            with contextlib.suppress(StatusError):
                await self.registration.drop_services()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._published.lease_seconds):
                    await self._looked.wait()

    def _service_changed(self, old: core.Service | None, new: core.Service | None) -> None:
        found = new if new is not None else old
        if found is None or (found.metadata.name != self._published.service and owner_of(found) is None):
            return
        if addresses_of(old) != addresses_of(new):
            self._changed()
        self.registration.look()


class Registration(membership.Registration):
    """This instance as an endpoint of all that it serves. ``refused`` says in words why a Service could not be made; ``changed`` is told
    that it says something else."""

    def __init__(
        self,
        client: Client,
        published: Published,
        services: Informer[core.Service],
        slices: Informer[discovery.EndpointSlice],
        entrances: Callable[[], Entrances],
        leads: Callable[[], bool],
        gone: Callable[[Origin], bool],
        changed: Callable[[], None],
        clock: Clock,
    ) -> None:
        own = membership.Membership(
            published.namespace, published.service, published.instance, COMPONENT, MANAGER,
            published.renew_seconds, published.lease_seconds,
        )  # fmt: skip
        super().__init__(client, own, services.store, slices.store, clock)
        self._published, self._entrances, self._leads, self._gone = published, entrances, leads, gone
        self._changed = changed
        self.refused: dict[str, str] = {}

    def mismatch(self) -> str:
        if self.service is None or not self.service.spec.selector:
            return ""
        named_so = f"Service {self._membership.namespace}/{self._membership.service}"
        return f"{named_so} has a selector, so that it leads to pods too: give it none, or the gateway another one by --publish-service"

    def instances(self) -> Iterator[discovery.EndpointSlice]:
        """Of all Services of the gateway's."""
        for piece in self._slices.list(self._membership.namespace):
            if piece.metadata.labels.get(SLICE_MANAGED_BY) == self._membership.manager:
                yield piece

    async def keep_service(self) -> None:
        """One that the API server refuses is told of, and the others kept all the same."""
        refused = {}
        for entrance in self._entrances().served:
            try:
                await self._keep(entrance)
            except (BadRequest, Forbidden, Invalid) as error:
                if entrance.gateway is None:
                    raise
                refused[entrance.service] = f"Service {self._membership.namespace}/{entrance.service} is refused: {error}"
        before, self.refused = self.refused, refused
        if refused != before:
            self._changed()
        await self.drop_services()

    async def _keep(self, entrance: Entrance) -> None:
        found = self._services.get(self._membership.namespace, entrance.service)
        if found is None:
            await self.make_service(made_service(self._membership.namespace, entrance))
        elif self._leads() and (fresh := changed_service(found, entrance)) != found:
            # The local copy may be behind; then the next step sees.
            with contextlib.suppress(Conflict, NotFound):
                await self._client.update(fresh)

    async def drop_services(self) -> None:
        """Those of Gateways that are no more."""
        if not self._leads():
            return
        for service in self._services.list(self._membership.namespace):
            owner = owner_of(service)
            if owner is not None and self._gone(owner):
                with contextlib.suppress(NotFound):
                    await self._client.delete(core.Service, service.metadata.name, service.metadata.namespace)

    def wanted_slices(self) -> list[discovery.EndpointSlice]:
        found = self._entrances()
        return [self._slice(each, ready=found.ready) for each in found.all if each.open]

    def _slice(self, entrance: Entrance, *, ready: bool) -> discovery.EndpointSlice:
        own, service = self._published, self._services.get(self._membership.namespace, entrance.service)
        piece = discovery.EndpointSlice(address_type="IPv4")
        piece.metadata.namespace, piece.metadata.name = own.namespace, f"{entrance.service}-{own.instance}"
        piece.metadata.labels.update({SERVICE_NAME: entrance.service, SLICE_MANAGED_BY: MANAGER})
        piece.metadata.annotations[membership.INSTANCE_ANNOTATION] = self.name
        for port, number in entrance.open:
            piece.ports.add(name=named(service, port), protocol="TCP", port=number)
        endpoint = piece.endpoints.add(addresses=[own.address])
        endpoint.conditions.ready = endpoint.conditions.serving = ready and not self._others_have(entrance, service)
        endpoint.conditions.terminating = False
        if own.node_name:
            endpoint.node_name = own.node_name
        return piece

    def _others_have(self, entrance: Entrance, service: core.Service | None) -> bool:
        """Whether another instance has opened what this one could not: then that one is to be asked."""
        missing = {named(service, port) for port in entrance.closed}
        return any(
            missing & {port.name for port in piece.ports} and any(endpoint.conditions.ready for endpoint in piece.endpoints)
            for piece in self.instances()
            if membership.owner_of(piece) != self.name and piece.metadata.labels.get(SERVICE_NAME) == entrance.service
        )
