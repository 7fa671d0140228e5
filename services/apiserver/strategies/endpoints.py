"""The strategy of Endpoints."""

from __future__ import annotations

from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    Path,
    check_choice,
    check_format,
    check_port_number,
    dns1123_label,
    dns1123_subdomain,
    qualified_name,
    required,
)
from services.apiserver.strategies.addresses import address_warnings, validate_endpoint_ip
from services.apiserver.strategies.service.ports import PROTOCOLS
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import NONE, age, columns

SHOWN = 3  # addresses before a table says how many more there are


class EndpointsStrategy(Strategy):
    """Ports are TCP unless they say otherwise."""

    creates_on_update = True
    columns = columns("Name", "Endpoints", "Age")

    def default(self, obj: core.Endpoints) -> None:
        for subset in obj.subsets:
            for port in subset.ports:
                port.protocol = port.protocol or "TCP"

    def validate(self, obj: core.Endpoints) -> list[Cause]:
        return [cause for index, subset in enumerate(obj.subsets) for cause in _subset(subset, Path("subsets").index(index))]

    def warnings(self, obj: core.Endpoints) -> list[str]:
        return [
            warning
            for index, subset in enumerate(obj.subsets)
            for name, addresses in (("addresses", subset.addresses), ("notReadyAddresses", subset.not_ready_addresses))
            for position, address in enumerate(addresses)
            for warning in address_warnings(address.ip, Path("subsets").index(index).child(name).index(position).child("ip"))
        ]

    def cells(self, obj: core.Endpoints, now: datetime) -> list[object]:
        return [obj.metadata.name, _addresses_text(obj), age(obj, now)]


def _addresses_text(endpoints: core.Endpoints) -> str:
    """The first ready addresses with their ports: ``10.0.0.1:80,10.0.0.2:80 + 2 more...``."""
    texts: list[str] = []
    for subset in endpoints.subsets:
        if not subset.ports:
            texts += [address.ip for address in subset.addresses]
        for port in subset.ports:
            texts += [f"{address.ip}:{port.port}" for address in subset.addresses]
    more = len(texts) - SHOWN
    return ",".join(texts[:SHOWN]) + (f" + {more} more..." if more > 0 else "") or NONE


def _subset(subset: core.EndpointSubset, path: Path) -> list[Cause]:
    causes: list[Cause] = []
    if not subset.addresses and not subset.not_ready_addresses:
        causes.append(required(path, "must specify `addresses` or `notReadyAddresses`"))
    for name, addresses in (("addresses", subset.addresses), ("notReadyAddresses", subset.not_ready_addresses)):
        for index, address in enumerate(addresses):
            causes += _address(address, path.child(name).index(index))
    for index, port in enumerate(subset.ports):
        here = path.child("ports").index(index)
        if port.name:
            causes += check_format(here.child("name"), port.name, dns1123_label)
        elif len(subset.ports) > 1:
            causes.append(required(here.child("name")))
        causes += check_port_number(here.child("port"), port.port)
        causes += check_choice(here.child("protocol"), port.protocol, PROTOCOLS)
        if port.HasField("app_protocol"):
            causes += check_format(here.child("appProtocol"), port.app_protocol, qualified_name)
    return causes


def _address(address: core.EndpointAddress, path: Path) -> list[Cause]:
    causes = validate_endpoint_ip(address.ip, path.child("ip"))
    if address.hostname:
        causes += check_format(path.child("hostname"), address.hostname, dns1123_label)
    if address.HasField("node_name"):
        causes += check_format(path.child("nodeName"), address.node_name, dns1123_subdomain)
    return causes
