"""Keeps the endpoints of the `kubernetes` Service, by which pods reach an API server, those of the servers that live.

Each server that shares its etcd with others keeps a Lease and renews it; every one of them writes the same endpoints, those of all
whose Lease was renewed lately *as it has seen it itself*. Who is silent for too long is dropped, its Lease with it; who stops takes
itself out. ``upkeep`` announces again and again.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from contextlib import suppress
from typing import Any

from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.client.client import Client
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.machinery.errors import Conflict, NotFound, StatusError
from knarr.objects.copies import copy_of
from knarr.objects.labels import SERVICE_NAME

log = logging.getLogger(__name__)

SERVICE, NAMESPACE = "kubernetes", "default"
LEASE_NAMESPACE, COMPONENT_LABEL, COMPONENT = "kube-system", "apiserver.kubernetes.io/identity", "knarr-apiserver"
RENEW_SECONDS, DURATION_SECONDS = 5.0, 15
WITHDRAW_SECONDS = 2.0


class Announcer:
    """Announces one server; in time for its Lease, each ``RENEW_SECONDS``, if others may come."""

    def __init__(self, client: Client, address: str, port: int, *, shared: bool, clock: Clock = SYSTEM_CLOCK) -> None:
        """An empty ``address`` announces nothing; neither does a loopback address, which no pod could reach."""
        self._client, self._port, self._shared, self._clock = client, port, shared, clock
        self._address = address if address and not ipaddress.ip_address(address).is_loopback else ""
        if address and not self._address:
            log.warning("the kubernetes Service has no endpoint: pods cannot reach a loopback address", extra={"address": address})
        self._withdrawn = False
        # By name of the Lease: what it said last, and the loop's time at which that was seen first.
        self._seen: dict[str, tuple[coordination.LeaseSpec, float]] = {}

    @property
    def lease_name(self) -> str:
        return f"apiserver-{self._address.replace('.', '-').replace(':', '-')}"

    async def announce(self) -> None:
        """Renews this server's Lease and brings the endpoints in step with those who live. Raises StatusError."""
        if not self._address or self._withdrawn:
            return
        living = [self._address]
        if self._shared:
            await self._renew()
            living = await self._living()
        await self._write(living)

    async def _renew(self) -> None:
        try:
            lease = await self._client.get(coordination.Lease, self.lease_name, LEASE_NAMESPACE)
        except NotFound:
            lease = coordination.Lease()
            lease.metadata.name, lease.metadata.namespace = self.lease_name, LEASE_NAMESPACE
            lease.metadata.labels[COMPONENT_LABEL] = COMPONENT
        now = self._clock.now()
        lease.spec.holder_identity, lease.spec.lease_duration_seconds = self._address, DURATION_SECONDS
        lease.spec.renew_time.seconds, lease.spec.renew_time.nanos = int(now.timestamp()), now.microsecond * 1000
        await (self._client.update(lease) if lease.metadata.resource_version else self._client.create(lease))

    async def _living(self) -> list[str]:
        """The addresses of the servers whose Leases are alive; removes the other Leases."""
        page = await self._client.list(coordination.Lease, LEASE_NAMESPACE, label_selector=f"{COMPONENT_LABEL}={COMPONENT}")
        now = asyncio.get_running_loop().time()
        known = {lease.metadata.name: copy_of(lease.spec) for lease in page.items}
        before, self._seen = self._seen, {}
        for name, spec in known.items():
            said, since = before.get(name, (None, now))
            self._seen[name] = (spec, since if said == spec else now)
        dead = [lease for lease in page.items if self._seen[lease.metadata.name][1] + DURATION_SECONDS <= now]
        for lease in dead:
            log.warning("an API server is silent and dropped", extra={"address": lease.spec.holder_identity})
            await self._remove(lease)
        gone = {lease.metadata.name for lease in dead}
        return sorted({spec.holder_identity for name, spec in known.items() if name not in gone} | {self._address})

    async def withdraw(self) -> None:
        """Takes this server out of the endpoints, unless it is the last one; raises nothing."""
        if not self._seen or self._withdrawn:
            return
        self._withdrawn = True
        try:
            async with asyncio.timeout(WITHDRAW_SECONDS):
                lease = await self._client.get(coordination.Lease, self.lease_name, LEASE_NAMESPACE)
                others = [address for address in await self._living() if address != self._address]
                await self._remove(lease)
                if others:
                    await self._write(others)
        except (StatusError, TimeoutError) as error:
            log.info("this server is not withdrawn; the others will drop it", extra={"error": str(error) or "timeout"})

    async def _remove(self, lease: coordination.Lease) -> None:
        with suppress(NotFound, Conflict):  # removed or renewed meanwhile
            await self._client.delete(
                coordination.Lease, lease.metadata.name, LEASE_NAMESPACE, resource_version=lease.metadata.resource_version
            )

    async def _write(self, addresses: list[str]) -> None:
        await self._put(_endpoints(addresses, self._port), "subsets")
        await self._put(_slice(addresses, self._port), "endpoints", "ports")

    async def _put(self, wanted: Any, *content: str) -> None:
        """Stores an object whose ``content`` is not as wanted."""
        try:
            found: Any = await self._client.get(type(wanted), SERVICE, NAMESPACE)
        except NotFound:
            await self._client.create(wanted)
            return
        if any(getattr(found, field) != getattr(wanted, field) for field in content):
            await self._client.update(wanted)


def _endpoints(addresses: list[str], port: int) -> core.Endpoints:
    endpoints = core.Endpoints()
    endpoints.metadata.name, endpoints.metadata.namespace = SERVICE, NAMESPACE
    endpoints.metadata.labels["endpointslice.kubernetes.io/skip-mirror"] = "true"
    subset = endpoints.subsets.add()
    for address in addresses:
        subset.addresses.add(ip=address)
    subset.ports.add(name="https", port=port, protocol="TCP")
    return endpoints


def _slice(addresses: list[str], port: int) -> discovery.EndpointSlice:
    found = discovery.EndpointSlice(address_type=f"IPv{ipaddress.ip_address(addresses[0]).version}")
    found.metadata.name, found.metadata.namespace = SERVICE, NAMESPACE
    found.metadata.labels[SERVICE_NAME] = SERVICE
    for address in addresses:
        found.endpoints.add(addresses=[address]).conditions.ready = True
    found.ports.add(name="https", port=port, protocol="TCP")
    return found
