"""Cluster addresses and node ports of Services, taken and given back in the Service's own transaction."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Set
from contextlib import AbstractAsyncContextManager
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import Cause, StatusError, internal, invalid
from knarr.machinery.resources import Resource
from knarr.machinery.validation import shown
from services.apiserver.allocators.addresses import AddressRange
from services.apiserver.allocators.allocator import NOT_SERIALIZED, Allocators
from services.apiserver.allocators.ledger import Ledger
from services.apiserver.allocators.numbers import SOURCE, NumberRange
from services.apiserver.backend import NO_EXTRA, Extra
from services.apiserver.results import Ref
from services.apiserver.storage.store import Store
from services.apiserver.strategies.service.shape import allocates_node_ports, needs_address, needs_health_check_port, needs_node_ports

SERVICES = version_of(core.Service).resource
ADDRESSES_KEY, PORTS_KEY = "/registry/ranges/serviceips", "/registry/ranges/servicenodeports"
STAND_BACK_SECONDS = 0.01


def held_address(service: Any) -> str:
    """The cluster address that a Service holds; empty for headless and external ones."""
    return str(service.spec.cluster_ip) if needs_address(service.spec) else ""


def held_ports(service: Any) -> set[int]:
    """Its node ports and the port of its health check."""
    spec = service.spec
    ports = {port.node_port for port in spec.ports} if needs_node_ports(spec) else set()
    if needs_health_check_port(spec):
        ports.add(spec.health_check_node_port)
    return ports - {0}


class ServiceAllocators(Allocators):
    """Raises Invalid for a requested address or port that cannot be had, InternalError when there is none left."""

    def __init__(self, store: Store, addresses: AddressRange, ports: NumberRange, source: random.Random = SOURCE) -> None:
        self.addresses, self.ports, self._source = addresses, ports, source
        self.address_ledger, self.port_ledger = Ledger(store, ADDRESSES_KEY, addresses), Ledger(store, PORTS_KEY, ports)
        self._lock = asyncio.Lock()

    def concerns(self, resource: Resource) -> bool:
        return resource is SERVICES

    def serialized(self, resource: Resource) -> AbstractAsyncContextManager[Any]:
        return self._lock if resource is SERVICES else NOT_SERIALIZED

    async def stand_back(self, resource: Resource) -> None:
        if resource is SERVICES:
            await asyncio.sleep(self._source.uniform(0, STAND_BACK_SECONDS))

    async def allocate(self, ref: Ref, old: Any, new: Any) -> Extra:
        if ref.resource is not SERVICES:
            return NO_EXTRA
        address = await self._address(ref, held_address(old) if old else "", new)
        return address.beside(await self._ports(ref, old, new))

    async def release(self, ref: Ref, obj: Any) -> Extra:
        if ref.resource is not SERVICES:
            return NO_EXTRA
        address = await self._give_back_address(held_address(obj))
        return address.beside(await self.port_ledger.give_back(held_ports(obj)))

    async def _address(self, ref: Ref, held: str, new: Any) -> Extra:
        if not needs_address(new.spec):
            return await self._give_back_address(held)
        wanted = held_address(new)
        if wanted and wanted == held:
            return NO_EXTRA
        taken, revision = await self.address_ledger.read()
        number = self._requested_address(ref, wanted, taken) if wanted else self._free_address(taken)
        if number is None:
            raise internal("failed to allocate a serviceIP: range is full")
        chosen = self.addresses.address(number)
        new.spec.cluster_ip = chosen
        del new.spec.cluster_ips[:]
        new.spec.cluster_ips.append(chosen)
        freed = {self.addresses.number(held)} if held else set()
        return self.address_ledger.change((taken - freed) | {number}, revision)

    def _free_address(self, taken: Set[int]) -> int | None:
        return self.addresses.choose(taken | {self.addresses.first}, self._source)

    def _requested_address(self, ref: Ref, address: str, taken: Set[int]) -> int:
        number = self.addresses.number(address)
        if number is None:
            detail = f"the provided IP ({address}) is not in the valid range. The range of valid IPs is {self.addresses}"
        elif number in taken:
            detail = "provided IP is already allocated"
        else:
            return number
        raise _refused(ref, "spec.clusterIPs", shown([address]), f"failed to allocate IP {address}: {detail}")

    async def _give_back_address(self, address: str) -> Extra:
        number = self.addresses.number(address)
        return NO_EXTRA if number is None else await self.address_ledger.give_back({number})

    async def _ports(self, ref: Ref, old: Any, new: Any) -> Extra:
        held = held_ports(old) if old else set()
        complete = not _missing_ports(new) and (new.spec.health_check_node_port or not needs_health_check_port(new.spec))
        if complete and held_ports(new) == held:
            return NO_EXTRA
        taken, revision = await self.port_ledger.read()
        others = taken - held
        self._check_requests(ref, new, held, others)
        if old is None:
            _share_ports(new)
        for port in _missing_ports(new):
            if port.node_port:  # another protocol of the same port has got it just now
                continue
            port.node_port = self._free_port(others | held_ports(new), "failed to allocate a nodePort")
            if old is None:
                _share_ports(new)
        if needs_health_check_port(new.spec) and not new.spec.health_check_node_port:
            free = self._free_port(others | held_ports(new), "failed to allocate a HealthCheck NodePort 0")
            new.spec.health_check_node_port = free
        return self.port_ledger.change(others | {port for port in held_ports(new) if port in self.ports}, revision)

    def _check_requests(self, ref: Ref, new: Any, held: Set[int], taken: Set[int]) -> None:
        """Refuses what is asked for and not held already."""
        for index, port in enumerate(new.spec.ports if needs_node_ports(new.spec) else ()):
            refusal = self._refusal(port.node_port, held, taken)
            if refusal:
                raise _refused(ref, f"spec.ports[{index}].nodePort", str(port.node_port), refusal)
        if needs_health_check_port(new.spec):
            number = new.spec.health_check_node_port
            refusal = self._refusal(number, held, taken | {port.node_port for port in new.spec.ports})
            if refusal:
                # Kubernetes calls this an internal error; it is the caller's.
                raise _refused(ref, "spec.healthCheckNodePort", str(number), refusal)

    def _refusal(self, port: int, held: Set[int], taken: Set[int]) -> str:
        if not port or port in held:
            return ""
        if port not in self.ports:
            return f"provided port is not in the valid range. The range of valid ports is {self.ports}"
        return "provided port is already allocated" if port in taken else ""

    def _free_port(self, taken: Set[int], what: str) -> int:
        free = self.ports.choose(taken, self._source)
        if free is None:
            raise internal(f"{what}: range is full")
        return free


def _missing_ports(service: Any) -> list[Any]:
    return [port for port in service.spec.ports if not port.node_port] if allocates_node_ports(service.spec) else []


def _share_ports(service: Any) -> None:
    """One number for the protocols of one port, as a new DNS server would have it."""
    known = {port.port: port.node_port for port in reversed(service.spec.ports) if port.node_port}
    for port in _missing_ports(service):
        port.node_port = known.get(port.port, 0)


def _refused(ref: Ref, field: str, value: str, detail: str) -> StatusError:
    return invalid("Service", ref.name, [Cause("FieldValueInvalid", f"Invalid value: {value}: {detail}", field)])
