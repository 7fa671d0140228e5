"""An instance of a component as an endpoint of a Service without a selector, beside other instances of the same.

Each has an EndpointSlice and a Lease of the same name, or several EndpointSlices that say whose they are. It renews its Lease; one that
sees the Lease of another unchanged for that Lease's time takes its EndpointSlices away. Time is counted only while our own renewals
succeed: when the API server was away, nobody could renew. Clocks of different machines are never compared.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
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

log = logging.getLogger(__name__)

COMPONENT_LABEL = "knarr.io/component"
# Of an EndpointSlice: the instance's, where it is not the name of both.
INSTANCE_ANNOTATION = "knarr.io/instance"
LEAVE_SECONDS = 3.0
RETRY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Membership:
    """Of what an instance is one, and how it says that it lives."""

    # The Service, and the instance's name among all of them.
    namespace: str
    service: str
    instance: str
    # The component's name, by which its Leases are found.
    component: str
    # Who keeps the EndpointSlices, as their label says.
    manager: str
    # How often it says that it lives, and after how much silence the others take its endpoint away, seconds.
    renew_seconds: float
    lease_seconds: float

    @property
    def name(self) -> str:
        """The name of the EndpointSlice and the Lease."""
        return f"{self.service}-{self.instance}"


@dataclass(slots=True)
class _Sight:
    """A Lease as it was last seen to change, and when; seconds of the event loop's clock."""

    renewed: tuple[int, int]
    since: float


class Registration(abc.ABC):
    """One instance's. ``services`` and ``slices`` are local copies that others keep current."""

    def __init__(
        self,
        client: Client,
        membership: Membership,
        services: Store[core.Service],
        slices: Store[discovery.EndpointSlice],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._client, self._membership, self._clock = client, membership, clock
        self._services, self._slices = services, slices
        self._lease: coordination.Lease | None = None
        self._sights: dict[str, _Sight] = {}
        self._news = asyncio.Event()
        # EndpointSlices that we wrote, of which the local copy may not have heard.
        self._written: set[str] = set()
        # Whether this instance was registered at least once.
        self.registered = False
        # What stands in the way, in words.
        self.problem = ""

    @abc.abstractmethod
    async def keep_service(self) -> None:
        """Makes what it is an endpoint of where that is not there, and keeps it as it is to be."""

    @abc.abstractmethod
    def wanted_slices(self) -> list[discovery.EndpointSlice]:
        """This instance's endpoints; none: it has none to offer."""

    def mismatch(self) -> str:
        """What of the Service is not as it should be, in words; empty: nothing."""
        return ""

    @property
    def name(self) -> str:
        return self._membership.name

    @property
    def service(self) -> core.Service | None:
        """As it was last seen; None while it is not there."""
        return self._services.get(self._membership.namespace, self._membership.service)

    def instances(self) -> Iterator[discovery.EndpointSlice]:
        """The EndpointSlices of all instances."""
        own = self._membership
        for piece in self._slices.list(own.namespace):
            labels = piece.metadata.labels
            if labels.get(SERVICE_NAME) == own.service and labels.get(SLICE_MANAGED_BY) == own.manager:
                yield piece

    def look(self) -> None:
        """What is wanted may have changed."""
        self._news.set()

    async def keep(self, needed: Callable[[], bool] = lambda: True) -> None:
        """Keeps the instance registered until it is not ``needed`` any more. Needs synced stores."""
        while needed():
            self._news.clear()
            pause = await self._kept()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._news.wait()

    async def _kept(self) -> float:
        """Registers it, or says why not; after how many seconds again."""
        own = self._membership
        try:
            async with asyncio.timeout(own.lease_seconds):
                await self._step()
            self.registered = True
            self.problem = self.mismatch()
        except (StatusError, TimeoutError) as error:
            problem = f"this instance cannot be registered: {str(error) or 'the API server does not answer in time'}"
            if problem != self.problem:
                log.warning("not registered", extra={"instance": self.name, "error": str(error)})
            self.problem = problem
            self._lease = None
            self._sights.clear()
            return min(own.renew_seconds, RETRY_SECONDS)
        return own.renew_seconds

    async def leave(self) -> None:
        """Takes our endpoint away; the others would after the Lease's time."""
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                await self._drop(self.name)
        except (StatusError, TimeoutError) as error:
            log.warning("the endpoint could not be taken away", extra={"instance": self.name, "error": str(error)})

    async def _step(self) -> None:
        await self._renew()
        await self.keep_service()
        await self._keep_slices()
        await self._drop_dead()

    async def _renew(self) -> None:
        own, now = self._membership, self._clock.now()
        lease = self._lease or await self._found_lease()
        fresh = copy_of(lease) if lease is not None else coordination.Lease()
        fresh.metadata.namespace, fresh.metadata.name = own.namespace, self.name
        fresh.metadata.labels[COMPONENT_LABEL] = own.component
        fresh.spec.holder_identity = own.instance
        fresh.spec.lease_duration_seconds = max(1, round(own.lease_seconds))
        fresh.spec.renew_time.seconds, fresh.spec.renew_time.nanos = int(now.timestamp()), now.microsecond * 1000
        try:
            self._lease = await (self._client.update(fresh) if lease is not None else self._client.create(fresh))
        except (AlreadyExists, Conflict, NotFound):
            # Somebody else wrote it; the next step reads it anew.
            self._lease = None

    async def _found_lease(self) -> coordination.Lease | None:
        try:
            return await self._client.get(coordination.Lease, self.name, self._membership.namespace)
        except NotFound:
            return None

    async def make_service(self, service: core.Service) -> None:
        """Another instance may be quicker, and the local copy not have heard of it yet."""
        with contextlib.suppress(AlreadyExists):
            await self._client.create(service)

    async def _keep_slices(self) -> None:
        wanted = {piece.metadata.name: piece for piece in self.wanted_slices()}
        for name in self._own_slices(self.name) - wanted.keys():
            await self._remove(name)
        for name, piece in wanted.items():
            await self._keep_slice(piece, self._slices.get(self._membership.namespace, name))

    async def _keep_slice(self, wanted: discovery.EndpointSlice, found: discovery.EndpointSlice | None) -> None:
        # The local copy may be behind; then the next step sees.
        with contextlib.suppress(AlreadyExists, Conflict, NotFound):
            self._written.add(wanted.metadata.name)
            if found is None:
                await self._client.create(wanted)
            elif not _same(found, wanted):
                wanted.metadata.resource_version = found.metadata.resource_version
                await self._client.update(wanted)

    def _own_slices(self, instance: str) -> set[str]:
        """Names of those that an instance has."""
        found = {piece.metadata.name for piece in self.instances() if owner_of(piece) == instance}
        return found | self._written if instance == self.name else found

    async def _remove(self, name: str) -> None:
        with contextlib.suppress(NotFound):
            await self._client.delete(discovery.EndpointSlice, name, self._membership.namespace)
        self._written.discard(name)

    async def _drop_dead(self) -> None:
        own = self._membership
        leases = await self._client.list(coordination.Lease, own.namespace, label_selector=f"{COMPONENT_LABEL}={own.component}")
        by_name = {lease.metadata.name: lease for lease in leases.items}
        now = asyncio.get_running_loop().time()
        names = {owner_of(piece) for piece in self.instances()} | set(by_name)
        self._sights = {name: sight for name, sight in self._sights.items() if name in names}
        for name in names - {self.name}:
            lease = by_name.get(name)
            renewed = (lease.spec.renew_time.seconds, lease.spec.renew_time.nanos) if lease is not None else (0, 0)
            sight = self._sights.get(name)
            if sight is None or sight.renewed != renewed:
                self._sights[name] = _Sight(renewed, now)
                continue
            duration = lease.spec.lease_duration_seconds if lease is not None else own.lease_seconds
            if now - sight.since > duration:
                log.warning("another instance no longer lives; its endpoint is taken away", extra={"instance": name})
                await self._drop(name)
                del self._sights[name]

    async def _drop(self, instance: str) -> None:
        for name in self._own_slices(instance):
            await self._remove(name)
        with contextlib.suppress(NotFound):
            await self._client.delete(coordination.Lease, instance, self._membership.namespace)


def owner_of(piece: discovery.EndpointSlice) -> str:
    """The instance that it belongs to."""
    return str(piece.metadata.annotations.get(INSTANCE_ANNOTATION, piece.metadata.name))


def _same(found: discovery.EndpointSlice, wanted: discovery.EndpointSlice) -> bool:
    labels = all(found.metadata.labels.get(key) == value for key, value in wanted.metadata.labels.items())
    return labels and found.endpoints == wanted.endpoints and found.ports == wanted.ports
