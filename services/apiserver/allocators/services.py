"""Cluster addresses and node ports of Services, taken and given back in the Service's own transaction."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause, StatusError, internal, invalid
from knarr.machinery.kinds import KINDS, Kind
from services.apiserver.allocators.addresses import AddressRange
from services.apiserver.allocators.allocator import NOT_SERIALIZED, Allocators
from services.apiserver.allocators.ledger import Ledger
from services.apiserver.allocators.numbers import NumberRange
from services.apiserver.pipeline.backend import NO_EXTRA, Extra
from services.apiserver.results import Ref
from services.apiserver.storage.store import Store

SERVICES = KINDS.by_message(core.Service)
ADDRESSES_KEY, PORTS_KEY = "/registry/ranges/serviceips", "/registry/ranges/servicenodeports"
NODE_PORT_TYPES = ("NodePort", "LoadBalancer")


def wants_address(service: Any) -> bool:
    return bool(service.spec.type != "ExternalName" and service.spec.cluster_ip != "None")


def held_address(service: Any) -> str:
    """The cluster address that a Service holds; empty for headless and external ones."""
    return str(service.spec.cluster_ip) if wants_address(service) else ""


def wants_ports(service: Any) -> bool:
    spec = service.spec
    if spec.type == "LoadBalancer" and spec.HasField("allocate_load_balancer_node_ports"):
        return bool(spec.allocate_load_balancer_node_ports)
    return bool(spec.type in NODE_PORT_TYPES)


def held_ports(service: Any) -> set[int]:
    return {port.node_port for port in service.spec.ports if port.node_port}


class ServiceAllocators(Allocators):
    """Raises Invalid for a requested address or port that cannot be had."""

    def __init__(self, store: Store, addresses: AddressRange, ports: NumberRange) -> None:
        self.addresses, self.ports = addresses, ports
        self.address_ledger, self.port_ledger = Ledger(store, ADDRESSES_KEY, addresses), Ledger(store, PORTS_KEY, ports)
        self._lock = asyncio.Lock()

    def concerns(self, kind: Kind) -> bool:
        return kind is SERVICES

    def serialized(self, kind: Kind) -> AbstractAsyncContextManager[Any]:
        return self._lock if kind is SERVICES else NOT_SERIALIZED

    async def allocate(self, ref: Ref, old: Any, new: Any) -> Extra:
        if ref.kind is not SERVICES:
            return NO_EXTRA
        address = await self._address(ref, held_address(old) if old else "", new)
        ports = await self._ports(ref, held_ports(old) if old else set(), new)
        return merged(address, ports)

    async def release(self, ref: Ref, obj: Any) -> Extra:
        if ref.kind is not SERVICES:
            return NO_EXTRA
        return merged(await self._give_back_address(held_address(obj)), await self.port_ledger.give_back(held_ports(obj)))

    async def _address(self, ref: Ref, held: str, new: Any) -> Extra:
        wanted = held_address(new)
        if not wants_address(new):
            return await self._give_back_address(held)
        if wanted and wanted == held:
            return NO_EXTRA
        taken, revision = await self.address_ledger.read()
        number = self._requested_address(ref, wanted, taken) if wanted else self.addresses.choose(taken | {self.addresses.first})
        if number is None:
            raise internal("failed to allocate a serviceIP: range is full")
        chosen = self.addresses.address(number)
        new.spec.cluster_ip = chosen
        del new.spec.cluster_ips[:]
        new.spec.cluster_ips.append(chosen)
        freed = {self.addresses.number(held)} if held else set()
        return self.address_ledger.change((taken - freed) | {number}, revision)

    def _requested_address(self, ref: Ref, address: str, taken: set[int]) -> int:
        number = self.addresses.number(address)
        if number is None:
            detail = f"the provided IP ({address}) is not in the valid range. The range of valid IPs is {self.addresses}"
        elif number in taken:
            detail = "provided IP is already allocated"
        else:
            return number
        raise _refused(ref, "spec.clusterIPs", f'[]string{{"{address}"}}', f"failed to allocate IP {address}: {detail}")

    async def _give_back_address(self, address: str) -> Extra:
        number = self.addresses.number(address)
        return NO_EXTRA if number is None else await self.address_ledger.give_back({number})

    async def _ports(self, ref: Ref, held: set[int], new: Any) -> Extra:
        if not wants_ports(new):
            return await self.port_ledger.give_back(held)
        if held == held_ports(new) and all(port.node_port for port in new.spec.ports):
            return NO_EXTRA
        taken, revision = await self.port_ledger.read()
        others = taken - held
        for index, port in enumerate(new.spec.ports):
            if port.node_port:
                self._check_port(ref, index, port.node_port, others)
        chosen = held_ports(new)
        for port in new.spec.ports:
            if not port.node_port:
                free = self.ports.choose(others | chosen)
                if free is None:
                    raise internal("failed to allocate a nodePort: range is full")
                port.node_port = free
                chosen.add(free)
        return self.port_ledger.change(others | chosen, revision)

    def _check_port(self, ref: Ref, index: int, port: int, taken: set[int]) -> None:
        field = f"spec.ports[{index}].nodePort"
        if port not in self.ports:
            detail = f"provided port is not in the valid range. The range of valid ports is {self.ports}"
            raise _refused(ref, field, str(port), detail)
        if port in taken:
            raise _refused(ref, field, str(port), "provided port is already allocated")


def merged(first: Extra, second: Extra) -> Extra:
    """Both in one transaction."""
    return Extra({**first.guards, **second.guards}, [*first.puts, *second.puts], [*first.deletes, *second.deletes])


def _refused(ref: Ref, field: str, value: str, detail: str) -> StatusError:
    return invalid("Service", ref.name, [Cause("FieldValueInvalid", f"Invalid value: {value}: {detail}", field)])
