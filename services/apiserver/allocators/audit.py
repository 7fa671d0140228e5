"""What Services hold, compared with the record of it. Pure: the words are Kubernetes'."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from typing import Any

from services.apiserver.allocators.addresses import AddressRange
from services.apiserver.allocators.numbers import NumberRange
from services.apiserver.allocators.services import held_address, held_ports


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with one Service: an event's reason and message."""

    service: Any
    reason: str
    message: str


@dataclass(slots=True)
class Audit:
    """``held`` is what the record should be; ``leaked`` is recorded, but nobody holds it."""

    held: set[int] = field(default_factory=set)
    leaked: set[int] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)


def audit_addresses(services: Iterable[Any], addresses: AddressRange, taken: Set[int]) -> Audit:
    found = Audit()
    for service in services:
        address = held_address(service)
        if not address:
            continue
        number = addresses.number(address)
        if number is None:
            found.findings.append(_no_address(service, address, addresses))
            continue
        shown = f"Cluster IP [IPv{addresses.network.version}]: {address}"
        if number in found.held:
            message = f"{shown} was assigned to multiple services; please recreate service"
            found.findings.append(Finding(service, "ClusterIPAlreadyAllocated", message))
        elif number not in taken:
            found.findings.append(Finding(service, "ClusterIPNotAllocated", f"{shown} is not allocated; repairing"))
        found.held.add(number)
    found.leaked = set(taken - found.held)
    return found


def audit_ports(services: Iterable[Any], ports: NumberRange, taken: Set[int]) -> Audit:
    found = Audit()
    for service in services:
        for port in sorted(held_ports(service)):
            if port not in ports:
                message = f"Port {port} is not within the port range {ports}; please recreate service"
                found.findings.append(Finding(service, "PortOutOfRange", message))
                continue
            if port in found.held:
                message = f"Port {port} was assigned to multiple services; please recreate service"
                found.findings.append(Finding(service, "PortAlreadyAllocated", message))
            elif port not in taken:
                found.findings.append(Finding(service, "PortNotAllocated", f"Port {port} is not allocated; repairing"))
            found.held.add(port)
    found.leaked = set(taken - found.held)
    return found


def _no_address(service: Any, address: str, addresses: AddressRange) -> Finding:
    try:
        version = ipaddress.ip_address(address).version
    except ValueError:
        return Finding(service, "ClusterIPNotValid", f"Cluster IP {address} is not a valid IP; please recreate service")
    message = f"Cluster IP [IPv{version}]: {address} is not within the service CIDR {addresses}; please recreate service"
    return Finding(service, "ClusterIPOutOfRange", message)
