"""From a Service and its EndpointSlices to their records, as Kubernetes' DNS specification 1.1.0 wants them. Pure.

Beyond the specification, as CoreDNS does: the name of a Service also answers SRV, for all of its ports.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.objects.endpoints import takes_connections
from services.dns.zone.records import Record

HEADLESS = "None"
EXTERNAL_NAME = "ExternalName"
MAX_LABEL, MAX_NAME = 63, 253
SRV_PRIORITY, SRV_WEIGHT = 0, 100


@dataclass(frozen=True, slots=True)
class Port:
    name: str
    protocol: str
    number: int


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """An address of a headless Service with the name that it alone has."""

    host: str
    address: str
    ports: tuple[Port, ...]
    source: str


def service_records(service: core.Service, slices: Iterable[discovery.EndpointSlice], domain: str, ttl: int) -> list[Record]:
    """All records of one Service, each once."""
    writer = _Writer(service, domain, ttl)
    if service.spec.type == EXTERNAL_NAME:
        found = writer.external_name()
    elif service.spec.cluster_ip == HEADLESS:
        found = writer.headless(_endpoints(service, slices))
    else:
        found = writer.cluster_ips()
    return list({(record.name, record.type, record.data): record for record in found}.values())


class _Writer:
    """Writes the records of one Service."""

    def __init__(self, service: core.Service, domain: str, ttl: int) -> None:
        self._service = service
        self._ttl = ttl
        self._name = f"{service.metadata.name}.{service.metadata.namespace}.svc.{domain}"
        self._source = f"Service {service.metadata.namespace}/{service.metadata.name}"

    def external_name(self) -> Iterator[Record]:
        target = self._service.spec.external_name.rstrip(".").lower()
        if is_name(target):
            yield self._record(self._name, "CNAME", f"{target}.", "a Service of type ExternalName is another name for spec.externalName")

    def cluster_ips(self) -> Iterator[Record]:
        spec = self._service.spec
        addresses = [address for address in spec.cluster_ips or [spec.cluster_ip] if address]
        for address in addresses:
            yield self._address(self._name, address, "the name of a Service is its cluster IP")
            yield self._reverse(address, self._name, "a cluster IP leads back to its Service")
        if addresses:
            ports = [Port(port.name, port.protocol or "TCP", port.port) for port in spec.ports]
            yield from self._srv(ports, self._name, SRV_WEIGHT, self._source)

    def headless(self, endpoints: list[_Endpoint]) -> Iterator[Record]:
        weights: dict[Port, int] = {}
        for endpoint in endpoints:
            for port in endpoint.ports:
                weights[port] = weights.get(port, 0) + 1
        for endpoint in endpoints:
            host, source = f"{endpoint.host}.{self._name}", endpoint.source
            yield self._address(
                self._name, endpoint.address, "the name of a headless Service is the addresses of its ready endpoints", source
            )
            yield self._address(
                host, endpoint.address, "each endpoint of a headless Service has a name: its hostname, or its address", source
            )
            yield self._reverse(endpoint.address, host, "an endpoint's address leads back to its name", source)
            for port in endpoint.ports:
                yield from self._srv([port], host, max(1, SRV_WEIGHT // weights[port]), source)

    def _srv(self, ports: Iterable[Port], target: str, weight: int, source: str) -> Iterator[Record]:
        for port in ports:
            data = f"{SRV_PRIORITY} {weight} {port.number} {target}."
            if port.name:
                name = f"_{port.name}._{port.protocol.lower()}.{self._name}".lower()
                yield self._record(name, "SRV", data, "a named port has an SRV record", source)
            yield self._record(self._name, "SRV", data, "the name of a Service answers SRV for all its ports", source)

    def _address(self, name: str, address: str, rule: str, source: str = "") -> Record:
        return self._record(name, "AAAA" if ":" in address else "A", address, rule, source)

    def _reverse(self, address: str, target: str, rule: str, source: str = "") -> Record:
        return self._record(ipaddress.ip_address(address).reverse_pointer, "PTR", f"{target}.", rule, source)

    def _record(self, name: str, kind: str, data: str, rule: str, source: str = "") -> Record:
        return Record(name, kind, self._ttl, data, source or self._source, rule)


def _endpoints(service: core.Service, slices: Iterable[discovery.EndpointSlice]) -> list[_Endpoint]:
    """The endpoints that are published: the ready ones, or all where the Service says so."""
    found = []
    for piece in slices:
        if piece.address_type == "FQDN":
            continue
        source = f"EndpointSlice {piece.metadata.namespace}/{piece.metadata.name}"
        ports = tuple(Port(port.name, port.protocol or "TCP", port.port) for port in piece.ports if port.port)
        for endpoint in piece.endpoints:
            if not (service.spec.publish_not_ready_addresses or takes_connections(endpoint)):
                continue
            for address in endpoint.addresses:
                host = endpoint.hostname.lower() or address.replace(".", "-").replace(":", "-")
                found.append(_Endpoint(host, address, ports, source))
    return found


def is_name(text: str) -> bool:
    """Whether it can be asked for: the API allows labels that are longer than DNS has them."""
    return len(text) <= MAX_NAME and all(0 < len(label) <= MAX_LABEL for label in text.split("."))
